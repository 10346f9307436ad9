"""CIFAR-10's binary version, from archives and folders, made up and real."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodan.datasets import cifar10, source
from autodan.errors import DatasetNotFoundError, FormatError

REAL = Path(os.environ.get("AUTODAN_DATA", "/nonexistent"), "cifar10")
ARCHIVE = "cifar-10-binary.tar.gz"


def batch(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images in rows, columns, channels, and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, rng.integers(0, 10, (count, 1), dtype=np.uint8)


def encode(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Records of a label and the channels one after another."""
    return b"".join(
        label.tobytes() + image.transpose(2, 0, 1).tobytes()
        for image, label in zip(images, labels, strict=True)
    )


def tar(files: dict[str, bytes], folder: str = "cifar-10-batches-bin/") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


FIRST, SECOND, TENTH, TEST = batch(3, 1), batch(2, 2), batch(1, 10), batch(2, 99)
FILES = {
    "batches.meta.txt": b"airplane\n",
    "data_batch_10.bin": encode(*TENTH),
    "data_batch_2.bin": encode(*SECOND),
    "data_batch_1.bin": encode(*FIRST),
    "test_batch.bin": encode(*TEST),
    "readme.html": b"<html>",
}


def assert_is_made_up(loaded: tuple[cifar10.Split, cifar10.Split]) -> None:
    (x_train, y_train), (x_test, y_test) = loaded
    for result, parts in ((x_train, 0), (y_train, 1)):
        expected = np.concatenate([FIRST[parts], SECOND[parts], TENTH[parts]])
        np.testing.assert_array_equal(result, expected, strict=True)
    np.testing.assert_array_equal(x_test, TEST[0], strict=True)
    np.testing.assert_array_equal(y_test, TEST[1], strict=True)
    assert x_train.flags.c_contiguous


def test_the_archive_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar(FILES)))
    assert_is_made_up(cifar10.load_data(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


@pytest.mark.parametrize("below", [".", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_folders_are_read(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (tmp_path / below / name).write_bytes(data)
    assert_is_made_up(cifar10.load_data(tmp_path))


def test_names_never_become_paths(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    files = tar(FILES | {"evil": b"!"}, folder="../../escaped/")
    (tmp_path / "data" / ARCHIVE).write_bytes(gzip.compress(files))
    assert_is_made_up(cifar10.load_data(tmp_path / "data"))
    assert [path.name for path in tmp_path.rglob("*")] == ["data", ARCHIVE]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no batch"),
        ({"test_batch.bin": FILES["test_batch.bin"]}, "needs data_batch_1.bin"),
        ({"data_batch_1.bin": FILES["data_batch_1.bin"]}, "and test_batch.bin"),
        (FILES | {"data_batch_1.bin": b"short"}, "data_batch_1.bin has 5 bytes, not a multiple"),
        (FILES | {"data_batch_1.bin": b""}, "data_batch_1.bin has 0 bytes"),
        (FILES | {"test_batch.bin": b"\x0a" + bytes(3072)}, "test_batch.bin has label 10"),
    ],
)
def test_archives_that_do_not_fit_are_refused(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar(files)))
    with pytest.raises(FormatError, match=message) as caught:
        cifar10.load_data(tmp_path)
    assert str(tmp_path / ARCHIVE) in str(caught.value)


def test_a_batch_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = tar({"data_batch_1.bin": FILES["data_batch_1.bin"]})[:-10240] + tar(FILES)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar_joined(twice)))
    with pytest.raises(FormatError, match=r"data_batch_1\.bin is there twice"):
        cifar10.load_data(tmp_path)


def tar_joined(data: bytes) -> bytes:
    """Drops the end marks (empty blocks before a header) that joining two archives left."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    last = max(i for i, block in enumerate(blocks) if any(block))
    return b"".join(b for i, b in enumerate(blocks) if any(b) or i > last)


def test_links_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(stream.getvalue()))
    with pytest.raises(FormatError, match="not an ordinary file"):
        cifar10.load_data(tmp_path)


def test_a_size_that_lies_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = 3073 * 10**9
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(FormatError, match="which the archive cannot hold"):
        cifar10.load_data(tmp_path)


def test_a_long_chain_of_headers_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("name")
    member.type = tarfile.GNUTYPE_LONGNAME
    member.size = 1
    block = member.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(block * 5000))
    with pytest.raises(FormatError):
        cifar10.load_data(tmp_path)


@pytest.mark.parametrize("extra", [b"more", bytes(100_000)])
def test_bytes_after_the_end_are_refused(tmp_path: Path, extra: bytes) -> None:
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar(FILES) + extra))
    with pytest.raises(FormatError, match="goes on after the end"):
        cifar10.load_data(tmp_path)


SMALL = tar({"data_batch_1.bin": encode(*batch(1, 1)), "test_batch.bin": encode(*batch(1, 2))})


@given(
    edits=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=20),
    keep=st.one_of(st.just(len(SMALL)), st.integers(0, len(SMALL))),
    cut=st.integers(0, 30),
)
def test_any_archive_gives_a_result_or_a_format_error(
    tmp_path_factory: pytest.TempPathFactory,
    edits: list[tuple[int, int]],
    keep: int,
    cut: int,
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    damaged = bytearray(SMALL)
    for position, value in edits:
        damaged[position] = value
    compressed = gzip.compress(bytes(damaged[:keep]), 1)
    (folder / ARCHIVE).write_bytes(compressed[: len(compressed) - cut])
    try:
        cifar10.load_data(folder)
    except FormatError as error:
        assert ARCHIVE in str(error)


def test_offline_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("AUTODAN_DATA", raising=False)
    monkeypatch.setattr(source, "http_get", lambda url, target: target.write_bytes(b"wrong"))
    with pytest.raises(DatasetNotFoundError, match=f"cifar10: put {ARCHIVE} into") as caught:
        cifar10.load_data()
    assert cifar10.SHA256 in str(caught.value)


@pytest.mark.skipif(not REAL.is_dir(), reason="AUTODAN_DATA holds no cifar10/")
def test_the_real_images() -> None:
    (x_train, y_train), (x_test, y_test) = cifar10.load_data(REAL)
    assert x_train.shape[1:] == x_test.shape[1:] == (32, 32, 3)
    assert y_train.shape == (len(x_train), 1) and y_test.shape == (len(x_test), 1)
    for labels in (y_train, y_test):
        assert len(set(np.bincount(labels[:, 0]).tolist())) == 1  # balanced
    # Neighbouring pixels of a photograph are alike; in the wrong axis order they are not.
    pixels = x_train[:500].astype(np.int16)
    down, across = (np.abs(np.diff(pixels, axis=axis)).mean() for axis in (1, 2))
    assert down < 20 and across < 20
