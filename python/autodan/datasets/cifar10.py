"""CIFAR-10: 60,000 colour photographs of 32 by 32 pixels in ten classes.

A. Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", technical report,
University of Toronto (2009). Read from its "binary version": records of one label byte and
3,072 pixel bytes in the order channel, row, column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autodan.datasets.source import Source, require_sha256
from autodan.datasets.streams import DEFLATE_MAX_RATIO, Inflated, Stream, members
from autodan.datasets.streams import read as read_into
from autodan.errors import FormatError
from autodan.utils.regular import open_regular

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
RECORDS_AT_ONCE = 256
# What an archive may hold beside the batches: a few texts, in the original.
OTHER_FILES = 1 << 26

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
        return _read_archive(found)
    return _read_folder(found if found.is_dir() else found.parent)


def _read_folder(folder: Path) -> tuple[Split, Split]:
    paths = [path for path in folder.iterdir() if BATCH.fullmatch(path.name)]
    batches = _Batches({path.name: path.stat().st_size for path in paths}, folder)
    for path in paths:
        with open_regular(path) as file:
            batches.fill(path.name, file)
    return batches.splits()


def _read_archive(path: Path) -> tuple[Split, Split]:
    """Reads the archive in place: once for what it holds, once for the contents.

    So memory is taken once, and only after the archive has shown that it holds what it declares.
    """
    with open_regular(path) as file:
        capacity = os.fstat(file.fileno()).st_size * DEFLATE_MAX_RATIO
        sizes: dict[str, int] = {}
        others = 0
        for member in members(Inflated(file, str(path)), str(path)):
            if not BATCH.fullmatch(member.name):
                others += member.size
                if others > OTHER_FILES:
                    raise FormatError(f"{path}: holds more than {OTHER_FILES} bytes of other files")
                continue
            if not member.ordinary:
                raise FormatError(f"{path}: {member.name} is not an ordinary file")
            if member.name in sizes:
                raise FormatError(f"{path}: {member.name} is there twice")
            if member.size > capacity:
                raise FormatError(
                    f"{path}: {member.name} declares {member.size} bytes, "
                    "which the archive cannot hold"
                )
            sizes[member.name] = member.size
        batches = _Batches(sizes, path)
        file.seek(0)
        for member in members(Inflated(file, str(path)), str(path)):
            if BATCH.fullmatch(member.name):
                batches.fill(member.name, member)
    return batches.splits()


class _Batches:
    """The images and labels of batches whose sizes are known, each batch in its place.

    Args:
        sizes: the name of each batch and its length in bytes.
        place: the folder or archive that has them, for messages.

    Raises:
        FormatError: a batch is missing, or is not made of whole records.
    """

    def __init__(self, sizes: Mapping[str, int], place: Path) -> None:
        self._place = place
        train = sorted((name for name in sizes if name != TEST_BATCH), key=_number)
        if TEST_BATCH not in sizes or not train:
            raise FormatError(
                f"{place}: needs data_batch_1.bin (or more of them) and {TEST_BATCH}, "
                f"has {', '.join(sorted(sizes)) or 'no batch'}"
            )
        for name, size in sizes.items():
            if size == 0 or size % RECORD:
                raise FormatError(f"{place}: {name} has {size} bytes, not a multiple of {RECORD}")
        self._splits = tuple(
            _empty_split(sum(sizes[name] for name in names) // RECORD)
            for names in (train, [TEST_BATCH])
        )
        self._parts = {TEST_BATCH: self._splits[1]}
        start = 0
        for name in train:
            part = slice(start, start + sizes[name] // RECORD)
            self._parts[name] = (self._splits[0][0][part], self._splits[0][1][part])
            start = part.stop

    def fill(self, name: str, stream: Stream) -> None:
        """Reads one batch; the stream must end where its records do."""
        place = f"{self._place}: {name}"
        if name not in self._parts:
            raise FormatError(f"{place} has changed while it was read")
        images, labels = self._parts.pop(name)
        records = np.empty((RECORDS_AT_ONCE, RECORD), dtype=np.uint8)
        for start in range(0, len(images), RECORDS_AT_ONCE):
            chunk = records[: len(images) - start]
            if read_into(stream, chunk.reshape(-1).data) < chunk.size:
                raise FormatError(f"{place} ends early")
            if chunk[:, 0].max() > 9:
                label = chunk[:, 0].max()
                raise FormatError(f"{place} has label {label}, which is not one of 0 to 9")
            part = slice(start, start + len(chunk))
            labels[part, 0] = chunk[:, 0]
            images[part] = chunk[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        if stream.readinto(bytearray(1)):
            raise FormatError(f"{place} has changed while it was read")

    def splits(self) -> tuple[Split, Split]:
        """Returns the training and the test data, once every batch is in."""
        if self._parts:
            raise FormatError(f"{self._place}: {min(self._parts)} has changed while it was read")
        train, test = self._splits
        return train, test


def _empty_split(count: int) -> Split:
    """Channels-last images and labels, with memory that is only touched as it is filled."""
    return np.empty((count, 32, 32, 3), dtype=np.uint8), np.empty((count, 1), dtype=np.uint8)


def _number(name: str) -> int:
    return int(name.removeprefix("data_batch_").removesuffix(".bin"))
