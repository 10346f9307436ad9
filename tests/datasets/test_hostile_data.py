"""Files made to harm: readers refuse them fast, in little memory, and open nothing else."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodan.datasets import cifar10, idx
from autodan.errors import FormatError
from autodan.utils.regular import open_regular

MIB = 1 << 20
RECORD = 3073
ARCHIVE = cifar10.ARCHIVE


def header(shape: tuple[int, ...], code: int = 8) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def member(name: str, size: int, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def deflated(size: int) -> bytes:
    """A gzip file of so many zeros, made without having them."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(MIB)
    parts = [pack.compress(chunk[: min(MIB, size - at)]) for at in range(0, size, MIB)]
    return b"".join(parts) + pack.flush()


def peak(read: Callable[[], object]) -> int:
    """The most memory that was held at once while reading, in bytes."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(read: Callable[[], object], match: str) -> int:
    """The most memory that a refusal took."""

    def attempt() -> None:
        with pytest.raises(FormatError, match=match):
            read()

    return peak(attempt)


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_is_that_of_the_result(tmp_path: Path, compressed: bool) -> None:
    data = header((40, MIB)) + bytes(40 * MIB)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data, 1) if compressed else data)
    assert peak(lambda: idx.read(path)) < 1.1 * len(data)


def test_memory_is_that_of_the_images(tmp_path: Path) -> None:
    content = np.zeros((8000, RECORD), dtype=np.uint8)
    content[:, 0] = np.arange(8000) % 10
    batch = content.tobytes()
    tar = b"".join(
        member(name, len(batch), batch) for name in ("data_batch_1.bin", "test_batch.bin")
    )
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar + bytes(1024), 1))
    limit = 1.1 * 2 * len(batch)
    assert peak(lambda: cifar10.load_data(tmp_path)) < limit
    (tmp_path / ARCHIVE).unlink()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(batch)
    assert peak(lambda: cifar10.load_data(tmp_path)) < limit


def test_a_lying_header_of_a_compressed_file_takes_no_memory_for_what_is_not_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    # As large as zeros could be that compress so well, so the size alone does not give it away.
    path.write_bytes(gzip.compress(header((2**30,))) + os.urandom(2 * MIB))
    assert refused(lambda: idx.read(path), "goes on after the end of its gzip data") < 20 * MIB


def test_a_bomb_behind_the_declared_bytes_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = deflated(256 * MIB)
    assert len(content) < MIB
    path.write_bytes(content)
    (tmp_path / ARCHIVE).write_bytes(content)
    # An IDX header cannot begin with four zeros; an archive of zeros is empty and goes on.
    assert refused(lambda: idx.read(path), "not an IDX file") < 8 * MIB
    assert refused(lambda: cifar10.load_data(tmp_path), "goes on after the end") < 8 * MIB


def test_a_bomb_of_other_files_in_an_archive_is_refused(tmp_path: Path) -> None:
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = [pack.compress(member("readme.html", 1 << 33))]
    parts += [pack.compress(bytes(MIB)) for _ in range(80)]
    (tmp_path / ARCHIVE).write_bytes(b"".join(parts) + pack.flush())
    limit = refused(lambda: cifar10.load_data(tmp_path), "of other files")
    assert limit < 8 * MIB


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE]
)
def test_long_extended_headers_are_passed_over_in_pieces(tmp_path: Path, kind: bytes) -> None:
    tar = member("long", 30 * MIB, bytes(30 * MIB), kind) + bytes(1024)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar, 1))
    del tar
    assert refused(lambda: cifar10.load_data(tmp_path), "has no batch") < 8 * MIB


@pytest.mark.parametrize("field", [b"-0000000001", b"7777777777x", b"\xff" * 12, b"", b"9" * 11])
def test_sizes_that_are_none_are_refused(tmp_path: Path, field: bytes) -> None:
    block = bytearray(member("data_batch_1.bin", RECORD))
    block[124:136] = field.ljust(12, b"\0")[:12]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(bytes(block) + bytes(4096)))
    with pytest.raises(FormatError, match="damaged archive: a size of"):
        cifar10.load_data(tmp_path)


def test_gzip_members_are_not_joined(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = header((4,)) + b"abcd"
    path.write_bytes(gzip.compress(data[:6]) + gzip.compress(data[6:]))
    with pytest.raises(FormatError, match="goes on after the end of its gzip data"):
        idx.read(path)
    path.write_bytes(gzip.compress(data) + gzip.compress(b""))
    with pytest.raises(FormatError, match="goes on after the end of its gzip data"):
        idx.read(path)


@pytest.mark.parametrize("zeros", [1, 511, MIB])
def test_padding_behind_gzip_data_is_refused(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(header((1,)) + b"a") + bytes(zeros))
    with pytest.raises(FormatError, match="goes on after the end of its gzip data"):
        idx.read(path)


@given(data=st.binary(max_size=300), at=st.integers(0, 40), into=st.sampled_from([8, 16]))
def test_gzip_headers_with_every_field_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, into: int
) -> None:
    """Names, comments and extra fields of any content, flags of any kind."""
    path = tmp_path_factory.getbasetemp() / "header"
    whole = bytearray(gzip.compress(header((1,)) + b"a"))
    whole[3] |= into
    whole[10:10] = data
    whole[at % len(whole)] ^= 1
    path.write_bytes(whole)
    try:
        assert idx.read(path).tolist() == [97]
    except FormatError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "endless device", "link to a pipe"])
def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if "pipe" in kind:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if "endless" in kind else os.devnull)
    for read in (idx.read, open_regular):
        with pytest.raises(FormatError, match="not an ordinary file"):
            read(path)
    (tmp_path / ARCHIVE).symlink_to(path)
    with pytest.raises(FormatError, match=r"not an ordinary file|needs data_batch_1"):
        cifar10.load_data(tmp_path)


def test_a_batch_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(RECORD))
    os.mkfifo(tmp_path / "data_batch_1.bin")
    with pytest.raises(FormatError, match="0 bytes, not a multiple"):
        cifar10.load_data(tmp_path)


@pytest.mark.parametrize("path", [0, 1, True, 3.5, None, ["x"]])
def test_a_number_is_no_path(path: object) -> None:
    """`open` would take the file that is open under the number, and close it."""
    for read in (idx.read, open_regular):
        with pytest.raises(TypeError):
            read(path)  # type: ignore[arg-type, operator]


WATCH = """
import os, sys
from autodan.datasets import cifar10, idx
from autodan.errors import FormatError

opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in EVENTS else None)
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.symlink", "subprocess.Popen",
          "socket.connect", "import", "exec", "pickle.find_class", "marshal.loads"}
idx.read(sys.argv[1] + "/file")
cifar10.load_data(sys.argv[1])
print(list(dict.fromkeys(opened)))  # `open` tells twice when it is told how to open
"""


def test_nothing_but_the_given_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(header((1,)) + b"a"))
    record = bytes(RECORD)
    tar = b"".join(
        [
            member("/etc/evil", 1, b"x"),
            member("../../data_batch_1.bin", RECORD, record),
            member("link", 0, kind=tarfile.SYMTYPE),
            member("/test_batch.bin", RECORD, record),
            bytes(1024),
        ]
    )
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(tar))
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([str(tmp_path / "file"), str(tmp_path / ARCHIVE)])
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["file", ARCHIVE])
