"""Files of named tensors and one JSON text, in the format of `docs/files.md`.

Nothing that a file says is believed before its size and its digest were checked, and tensors are
read piece by piece into memory of their own.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from autodan import _core
from autodan._core import Tensor
from autodan.errors import FormatError
from autodan.utils.files import whole_file
from autodan.utils.regular import open_regular

FORMAT = "autodan 1"

_LENGTH = 8
_CHUNK = 1 << 20
_MAX_HEADER = 1 << 23
# More values than any honest model needs, and few enough to hold in memory as objects.
_MAX_VALUES = 200_000
_MAX_OBJECTS = 10_000
_MAX_DEPTH = 64
# The digest is that of the file with zeros in this place, where headers in the one form have it.
_BEFORE_DIGEST = b'{"__metadata__":{"digest":"'
_BLANK = "0" * 64

_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PK\x03\x04": "a zip archive, as Keras's .keras files are",
}


@dataclass(frozen=True)
class TensorFile:
    """An open file that is whole: its digest has been checked.

    Args:
        name: The path, for messages.
        document: The parsed JSON text.
        tensors: Dtype and shape by name, in the order of the data.
        digest: The SHA-256 of the content.
        stream: The open file.
        start: Where the data begins.
    """

    name: str
    document: Any
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    digest: str
    stream: io.BufferedReader
    start: int

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of these names, in the order of the data."""
        wanted = set(names)
        position = self.start
        for name, (dtype, shape) in self.tensors.items():
            if name in wanted:
                self.stream.seek(position)
                yield name, self._tensor(name, dtype, shape)
            position += _bytes(dtype, shape)

    def _tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        values = _core.zeros((size,), dtype)
        step = _CHUNK // np.dtype(dtype).itemsize
        for begin in range(0, size, step):
            piece = np.empty(min(step, size - begin), dtype)
            _read_exactly(self.stream, piece.view(np.uint8).data, self.name)
            if dtype == "bool" and piece.view(np.uint8).max() > 1:
                raise FormatError(f"{self.name}: '{name}' holds a bool that is neither 0 nor 1")
            if sys.byteorder == "big":
                piece.byteswap(inplace=True)
            values[begin : begin + len(piece)] = piece
        return _core.reshape(values, shape)


def write_tensor_file(
    path: str | os.PathLike[str], document: Any, arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a file, at once and whole, without a second copy of the arrays in memory.

    Args:
        path: The file to create or replace.
        document: What goes in as JSON.
        arrays: The tensors by name.

    Raises:
        ValueError: the document is too large, or holds what JSON has no form for.
        OSError: the file cannot be written; the file that was there is as before.
    """
    metadata = {"digest": _BLANK, "format": FORMAT, "model": to_json(document)}
    listing = [(name, array.dtype.name, array.shape) for name, array in arrays.items()]
    header = _core._encode_header(metadata, listing)
    digest = hashlib.sha256(header)
    with whole_file(path) as partial, open(partial, "r+b") as stream:
        stream.write(header)
        for name, _, _ in _core._parse_header(header)[1]:
            for piece in _pieces(arrays[name]):
                digest.update(piece)
                stream.write(piece)
        stream.seek(_LENGTH + len(_BEFORE_DIGEST))
        stream.write(digest.hexdigest().encode())


@contextmanager
def open_tensor_file(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Open a file, check that it is whole, and parse its header.

    Raises:
        FormatError: it is damaged, or something else; any bytes give a result or this.
        OSError: it cannot be opened.
    """
    name = os.fspath(path)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    with open_regular(path) as stream:
        header = _read_header(stream, name)
        try:
            metadata, listing = _core._parse_header(header)
        except ValueError as error:
            raise FormatError(f"{name}: not a model file, or damaged: {error}") from error
        tensors = {tensor: (dtype, shape) for tensor, dtype, shape in listing}
        size = os.fstat(stream.fileno()).st_size - len(header)
        declared = sum(_bytes(dtype, shape) for dtype, shape in tensors.values())
        if declared != size:
            problem = "cut short" if declared > size else "too long"
            raise FormatError(
                f"{name}: {problem}: the header speaks of {declared} bytes of data, not {size}"
            )
        if set(metadata) != {"digest", "format", "model"}:
            raise FormatError(f"{name}: a safetensors file, but none that autodan has saved")
        if metadata["format"] != FORMAT:
            raise FormatError(
                f"{name}: has the format {metadata['format']!r}, this version reads {FORMAT!r}"
            )
        _check_digest(stream, header, metadata["digest"], name)
        try:
            document = from_json(metadata["model"])
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from error
        yield TensorFile(name, document, tensors, metadata["digest"], stream, len(header))


def to_json(document: Any) -> str:
    """Return a document of plain values as JSON, within the limits that reading has.

    Raises:
        ValueError: it is too large, or holds NaN, infinity or objects.

    >>> to_json({"a": [1, (2.5, None)]})
    '{"a":[1,[2.5,null]]}'
    """
    text = json.dumps(_plain(document), separators=(",", ":"), allow_nan=False)
    try:
        from_json(text)
    except FormatError as error:
        raise ValueError(f"What is not read again is not written: {error}.") from error
    return text


def from_json(text: str) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN or infinity, nothing too large or too deep.

    Raises:
        FormatError: the text breaks one of these rules.

    >>> from_json('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    problem = _too_large(text)
    if problem is None:
        try:
            document = json.loads(
                text,
                object_pairs_hook=_unique,
                parse_constant=_refuse_constant,
                parse_float=_finite,
            )
            _check_depth(document)
            return document
        except (ValueError, RecursionError) as error:
            problem = str(error)
    raise FormatError(f"the description of the model is refused: {problem}")


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")


def _too_large(text: str) -> str | None:
    values = text.count(",") + text.count("[") + text.count("{")
    if values > _MAX_VALUES:
        return f"more than {_MAX_VALUES} values"
    objects = text.count('"class_name"')
    return f"{objects} objects, at most {_MAX_OBJECTS}" if objects > _MAX_OBJECTS else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number


def _plain(value: Any) -> Any:
    """Turn tuples into lists, NumPy's numbers into Python's, and arrays into nested lists."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"A config has the key {key!r}, but keys must be strings.")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"A config holds {value}, which JSON has no form for.")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"A config holds {value!r} of type {type(value).__name__}; get_config() must return "
        "numbers, strings, booleans, None, and lists and dicts of them."
    )


def _bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _pieces(array: np.ndarray) -> Iterator[memoryview]:
    """Yield the elements in row-major order, little-endian, some at a time."""
    if array.size:
        little = array.dtype.newbyteorder("<")
        nditer: Any = np.nditer  # whose types know no "contig"
        pieces = nditer(
            array,
            flags=["external_loop", "buffered"],
            op_flags=[["readonly", "contig"]],
            op_dtypes=[little],
            order="C",
            buffersize=_CHUNK // array.itemsize,
        )
        yield from (piece.data for piece in pieces)


def _read_header(stream: io.BufferedReader, name: str) -> bytes:
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(_LENGTH)
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            raise FormatError(
                f"{name}: {kind}, which autodan does not read. Load it with Keras, take the "
                "weights by model.get_weights(), and give them to set_weights() here."
            )
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH or length > min(size - _LENGTH, _MAX_HEADER):
        raise FormatError(f"{name}: not a model file, or cut short")
    header = bytearray(length)
    _read_exactly(stream, memoryview(header), name)
    return start + bytes(header)


def _read_exactly(stream: io.BufferedReader, target: memoryview, name: str) -> None:
    if stream.readinto(target) != len(target):
        raise FormatError(f"{name}: cut short while it was read")


def _check_digest(stream: io.BufferedReader, header: bytes, expected: str, name: str) -> None:
    place = slice(_LENGTH + len(_BEFORE_DIGEST), _LENGTH + len(_BEFORE_DIGEST) + len(_BLANK))
    digest = hashlib.sha256(header[: place.start])
    digest.update(_BLANK.encode())
    digest.update(header[place.stop :])
    buffer = bytearray(_CHUNK)
    while count := stream.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
    if digest.hexdigest() != expected:
        raise FormatError(f"{name}: damaged: its content does not have the digest that it states")
