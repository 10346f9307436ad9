"""The IDX format of MNIST and its kin, compressed or not.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit number, then the elements in row-major order, big-endian
(http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autodan.datasets.source import Source, require_sha256
from autodan.datasets.streams import DEFLATE_MAX_RATIO, GZIP_MAGIC, Inflated, Stream
from autodan.datasets.streams import read as read_into
from autodan.errors import FormatError
from autodan.utils.regular import open_regular

__all__ = ["load_splits", "read"]

# Memory is taken in steps, each as much as has been read: a compressed file's size says little
# about its content, and a header that lies shall cost nothing.
FIRST_STEP = 1 << 24
MAX_DIMENSIONS = 32
DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

Array = NDArray[Any]
Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read(path: str | os.PathLike[str], sha256: str | None = None) -> Array:
    """Reads an array from an IDX file, plain or gzip-compressed (told by its first bytes).

    What the header declares is checked against the file's size before memory is taken for it,
    and the file must end where the header says.

    Args:
        path: the file.
        sha256: the SHA-256 that the decompressed file must have. None (default) checks nothing.

    Returns:
        An array of the file's shape and of its dtype in native byte order.

    Raises:
        FormatError: whatever the file contains that is not one IDX array.
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     file = Path(place, "labels")
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read(file)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    with open_regular(path) as file:
        capacity = os.fstat(file.fileno()).st_size
        compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        if compressed:
            return _parse(Inflated(file, str(path)), path, capacity * DEFLATE_MAX_RATIO, sha256)
        return _parse(file, path, capacity, sha256)


def load_splits(
    source: Source,
    *,
    content_sha256: Mapping[str, str] | None = None,
    download_sha256: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Split, Split]:
    """Loads the four files of a data set in MNIST's form.

    Args:
        source: its files are training images, training labels, test images, test labels.
        content_sha256: digest of each decompressed file, checked at every load.
        download_sha256: digest of each file as the mirrors serve it, checked on download.
        folder: as for `Source.locate`.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, uint8, images (N, 28, 28), labels (N,).

    Raises:
        FormatError: a file is damaged, or images and labels do not fit each other.
        DatasetNotFoundError: a file is nowhere.

    Example:
        >>> four = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")
        >>> load_splits(Source("toy", four, ()), folder="/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        autodan.errors.DatasetNotFoundError: toy: put train-images.gz, ...
    """
    contents, downloads = content_sha256 or {}, download_sha256 or {}

    def check(name: str, path: Path) -> None:
        if name in downloads:
            require_sha256(path, downloads[name])
        read(path, contents.get(name))

    paths = [
        source.locate(name, partial(check, name), forms=(name.removesuffix(".gz"),), folder=folder)
        for name in source.files
    ]
    x_train, y_train, x_test, y_test = (
        read(path, contents.get(name)) for path, name in zip(paths, source.files, strict=True)
    )
    for images, labels, at in ((x_train, y_train, 0), (x_test, y_test, 2)):
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
            raise FormatError(
                f"{paths[at]}: expected uint8 images of shape (N, 28, 28), "
                f"got {images.dtype} of shape {images.shape}"
            )
        if not len(images):
            raise FormatError(f"{paths[at]}: holds no images")
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise FormatError(
                f"{paths[at + 1]}: expected {len(images)} uint8 labels as in {paths[at]}, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        if labels.max() > 9:
            raise FormatError(f"{paths[at + 1]}: label {labels.max()} is not one of 0 to 9")
    return (x_train, y_train), (x_test, y_test)


def _parse(stream: Stream, path: Path, capacity: int, sha256: str | None) -> Array:
    """Reads one array and requires the end; no more than `capacity` bytes can be there."""
    header = _read_header(stream, path, 4)
    zeros, code, ndim = struct.unpack(">HBB", header)
    if zeros or code not in DTYPES or ndim > MAX_DIMENSIONS:
        raise FormatError(f"{path}: not an IDX file, it begins with {header.hex(' ')}")
    sizes = _read_header(stream, path, 4 * ndim)
    shape = struct.unpack(f">{ndim}I", sizes)
    dtype = DTYPES[code]
    declared = math.prod(shape) * dtype.itemsize
    if len(header) + len(sizes) + declared > capacity:
        raise FormatError(
            f"{path}: the header declares {declared} bytes (shape {shape}), "
            f"which a file of this size cannot hold"
        )
    elements = _read_elements(stream, path, declared)
    if sha256:
        digest = hashlib.sha256(header + sizes)
        digest.update(elements.data)
        if digest.hexdigest() != sha256:
            raise FormatError(
                f"{path}: the decompressed content has SHA-256 {digest.hexdigest()}, expected "
                f"{sha256}: damaged, or another data set; delete it to have it downloaded again"
            )
    try:
        array = elements.view(dtype).reshape(shape)
    except ValueError as error:  # no elements, but dimensions past what NumPy can index
        raise FormatError(f"{path}: shape {shape} is impossible") from error
    if dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _read_elements(stream: Stream, path: Path, declared: int) -> NDArray[np.uint8]:
    elements = np.empty(min(declared, FIRST_STEP), dtype=np.uint8)
    done = 0
    while True:
        done += read_into(stream, elements.data[done:])
        if done < len(elements):
            raise FormatError(
                f"{path}: ends after {done} of the {declared} bytes that its header declares"
            )
        if done == declared:
            break
        elements.resize(min(declared, 2 * done), refcheck=False)  # nobody else has it
    if stream.readinto(bytearray(1)):
        raise FormatError(f"{path}: goes on after the {declared} bytes that its header declares")
    return elements


def _read_header(stream: Stream, path: Path, count: int) -> bytes:
    data = bytearray(count)
    if read_into(stream, memoryview(data)) < count:
        raise FormatError(f"{path}: ends within the header of an IDX file")
    return bytes(data)
