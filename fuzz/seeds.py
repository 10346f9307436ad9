"""Valid small files of each format: what the fuzzers start from.

`python fuzz/seeds.py FOLDER` writes them into a folder for each target.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import autodan as ad
from autodan import _core

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
# The first byte of some inputs: what follows is the file, or lacks its checksums.
AS_IT_IS, WITHOUT_CHECKSUM = b"\0", b"\1"
# What follows is what a model file says of its model.
DESCRIBED = b"\2"
GZIP_HEADER = gzip.compress(b"")[:10]


def encode_idx(array: np.ndarray) -> bytes:
    """Return an array as an IDX file.

    >>> encode_idx(np.array([7], dtype=np.uint8)).hex()
    '000008010000000107'
    """
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def idx() -> dict[str, bytes]:
    """Return an array of each dtype and of each number of axes up to 4."""
    arrays = {code: np.arange(6).astype(code) for code in CODES}
    shapes = {f"{len(sides)}d": np.zeros(sides, "u1") for sides in ((), (3,), (2, 3), (2, 0, 3))}
    return {name: encode_idx(array) for name, array in (arrays | shapes).items()}


def idx_gzip() -> dict[str, bytes]:
    """Return the same compressed, as files and as bare deflate streams."""
    files = {name: gzip.compress(data, mtime=0) for name, data in idx().items()}
    whole = {f"{name}.gz": AS_IT_IS + data for name, data in files.items()}
    return whole | {name: WITHOUT_CHECKSUM + data[10:-8] for name, data in files.items()}


def _tar(files: dict[str, bytes], style: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=style) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mtime = 0.5  # has PAX write an extended header
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue().rstrip(b"\0") + bytes(1024)


def cifar10() -> dict[str, bytes]:
    """Return archives of two images, not compressed, in each of tar's formats."""
    record = bytes([3]) + bytes(range(256)) * 12
    small = {"data_batch_1.bin": record, "test_batch.bin": record}
    full = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"} | {
        f"cifar-10-batches-bin/{name}": data for name, data in small.items()
    }
    archives = {
        f"{size}.{style}": _tar(files, style)
        for size, files in (("small", small), ("full", full))
        for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    }
    aligned = {name: data + bytes(-len(data) % 512) for name, data in archives.items()}
    return {name: WITHOUT_CHECKSUM + data for name, data in aligned.items()}


def _model_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        model = ad.Sequential(
            [
                ad.Input((4, 4, 1)),
                ad.layers.Conv2D(1, 2, activation="relu"),
                ad.layers.BatchNormalization(),
                ad.layers.MaxPooling2D(),
                ad.layers.Flatten(),
                ad.layers.Dropout(0.5, seed=1),
                ad.layers.Dense(2, activation="softmax", kernel_regularizer="l2"),
            ],
            name="seed",
        )
        model.compile(
            optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        model.fit(np.ones((2, 4, 4, 1)), np.array([0, 1]), verbose=0)
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def header_text(file: bytes) -> bytes:
    """Return the JSON of a model file's header."""
    return file[8 : 8 + int.from_bytes(file[:8], "little")]


def model() -> dict[str, bytes]:
    """Return a model file, and the description of its model alone."""
    file = _model_file()
    described = json.loads(header_text(file))["__metadata__"]["model"]
    return {"file": AS_IT_IS + file, "described": DESCRIBED + described.encode()}


def header() -> dict[str, bytes]:
    """Return headers of few tensors and of a model's."""
    simple = [
        _core._encode_header({"k": "v"}, [("w", "float32", (2, 3))]),
        _core._encode_header(
            {}, [("a", "bool", ()), ("b", "float64", (0, 7)), ("\u00e9", "uint8", (1,))]
        ),
        _core._encode_header({}, []),
    ]
    texts = [header_text(file) for file in (_model_file(), *simple)]
    return {str(i): text for i, text in enumerate(texts)} | {"whole": b"\0" + simple[0]}


SEEDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "idx": idx,
    "idx_gzip": idx_gzip,
    "cifar10": cifar10,
    "model": model,
    "header": header,
}


def write(target: str, folder: Path) -> None:
    """Write a target's seeds into a folder, beside what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in SEEDS[target]().items():
        (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    for target in SEEDS:
        write(target, Path(sys.argv[1], target))
