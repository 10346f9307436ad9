"""CIFAR-10: 60,000 colour photographs of 32 by 32 pixels in ten classes.

A. Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", technical report,
University of Toronto (2009). Read from its "binary version": records of one label byte and
3,072 pixel bytes in the order channel, row, column.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autodan.datasets.source import Source, require_sha256
from autodan.errors import FormatError

__all__ = ["load_data"]

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
SOURCE = Source(
    "cifar10",
    files=(ARCHIVE,),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",  # the author's
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        # MindSpore's, in Beijing
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
    ),
)

TEST_BATCH = "test_batch.bin"
BATCH = re.compile(r"data_batch_([1-9][0-9]?)\.bin|test_batch\.bin")
RECORD = 1 + 3 * 32 * 32
DEFLATE_MAX_RATIO = 1032
CHUNK = 1 << 20
# What tar may add after its end mark, to fill the last record of 20 blocks.
TAR_PADDING = 20 * 512
# What the standard library raises for damaged archives; a long chain of header blocks recurses.
DAMAGE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)

Batch = NDArray[np.uint8]
Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Loads CIFAR-10 from disk, or downloads it once (170 MB). As Keras `cifar10.load_data`.

    The labels: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship,
    9 truck. A folder or an archive with some of the batches is read as far as it goes, in the
    order of their numbers. The archive is read in place and never unpacked to disk.

    Args:
        path: a folder that holds `cifar-10-binary.tar.gz`, or the batches
            `data_batch_*.bin` and `test_batch.bin`, or the folder `cifar-10-batches-bin` with
            them; then nothing else is tried. None (default) looks in `$AUTODAN_DATA/cifar10/`,
            the user's cache and the mirrors.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, NumPy uint8: images (N, 32, 32, 3) from 0 to
        255, labels (N, 1) from 0 to 9; N is 50000 and 10000 in the whole set.

    Raises:
        DatasetNotFoundError: the data is nowhere; the message says where to put it.
        FormatError: a file is damaged or a batch is missing; the message names the file.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape, y_test.shape  # doctest: +SKIP
        ((50000, 32, 32, 3), (10000, 1))
    """
    found = SOURCE.locate(
        ARCHIVE,
        lambda download: require_sha256(download, SHA256),
        forms=(FOLDER, TEST_BATCH),
        folder=path,
    )
    if found.name == ARCHIVE:
        batches = _read_archive(found)
    else:
        found = found if found.is_dir() else found.parent
        batches = _read_folder(found)
    if TEST_BATCH not in batches or len(batches) == 1:
        raise FormatError(
            f"{found}: needs data_batch_1.bin (or more of them) and {TEST_BATCH}, "
            f"has {', '.join(sorted(batches)) or 'no batch'}"
        )
    test = _to_split([batches.pop(TEST_BATCH)])
    return _to_split([batches.pop(name) for name in sorted(batches, key=_number)]), test


def _read_folder(folder: Path) -> dict[str, Batch]:
    batches = {}
    for path in folder.iterdir():
        if BATCH.fullmatch(path.name):
            _require_records(path.stat().st_size, str(path))
            batches[path.name] = _labels_checked(np.fromfile(path, dtype=np.uint8), str(path))
    return batches


def _read_archive(path: Path) -> dict[str, Batch]:
    """Reads the batches out of the archive in one pass, without seeking or unpacking."""
    capacity = path.stat().st_size * DEFLATE_MAX_RATIO
    batches: dict[str, Batch] = {}
    try:
        with gzip.open(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if BATCH.fullmatch(name):
                        place = f"{path}: {name}"
                        if name in batches:
                            raise FormatError(f"{place} is there twice")
                        batches[name] = _read_member(archive, member, place, capacity)
            rest = stream.read(TAR_PADDING + 1)
            if len(rest) > TAR_PADDING or any(rest):
                raise FormatError(f"{path}: goes on after the end of the archive")
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(f"{path}: damaged archive: {error}") from error
    return batches


def _read_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, place: str, capacity: int
) -> Batch:
    if not member.isreg() or member.issparse():
        raise FormatError(f"{place} is not an ordinary file")
    _require_records(member.size, place)
    if member.size > capacity:
        raise FormatError(f"{place} declares {member.size} bytes, which the archive cannot hold")
    source = archive.extractfile(member)
    assert source is not None  # an ordinary file has content
    raw = np.empty(member.size, dtype=np.uint8)
    view = raw.data
    for start in range(0, member.size, CHUNK):
        chunk = source.read(min(CHUNK, member.size - start))
        view[start : start + len(chunk)] = chunk
        if len(chunk) < min(CHUNK, member.size - start):
            raise FormatError(f"{place} ends after {start + len(chunk)} of {member.size} bytes")
    return _labels_checked(raw, place)


def _require_records(size: int, place: str) -> None:
    if size == 0 or size % RECORD:
        raise FormatError(f"{place} has {size} bytes, not a multiple of {RECORD}")


def _labels_checked(raw: NDArray[np.uint8], place: str) -> Batch:
    batch = raw.reshape(-1, RECORD)
    if batch[:, 0].max() > 9:
        raise FormatError(f"{place} has label {batch[:, 0].max()}, which is not one of 0 to 9")
    return batch


def _number(name: str) -> int:
    return int(name.removeprefix("data_batch_").removesuffix(".bin"))


def _to_split(batches: list[Batch]) -> Split:
    """Joins batches into channels-last images and labels, letting go of each once copied."""
    count = sum(len(batch) for batch in batches)
    images = np.empty((count, 32, 32, 3), dtype=np.uint8)
    labels = np.empty((count, 1), dtype=np.uint8)
    start = 0
    for _ in range(len(batches)):
        batch = batches.pop(0)
        stop = start + len(batch)
        labels[start:stop, 0] = batch[:, 0]
        images[start:stop] = batch[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start = stop
    return images, labels
