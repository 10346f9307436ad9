"""The IDX reader: right for what is well formed, `FormatError` for everything else."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autodan.datasets import idx
from autodan.errors import FormatError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode(array: np.ndarray) -> bytes:
    """The array as an IDX file, written from the format's description."""
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "file"


arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    )
)
small_files = arrays.map(encode)


@given(array=arrays, compressed=st.booleans())
def test_round_trip(file: Path, array: np.ndarray, compressed: bool) -> None:
    data = encode(array)
    file.write_bytes(gzip.compress(data) if compressed else data)
    result = idx.read(file, hashlib.sha256(data).hexdigest())
    assert result.dtype == array.dtype and result.dtype.isnative
    np.testing.assert_array_equal(result, array)


@given(data=st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(gzip.compress)))
def test_any_bytes_give_a_result_or_a_format_error(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        result = idx.read(file)
    except FormatError as error:
        assert str(file) in str(error)
    else:
        assert result.nbytes < len(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


@given(data=small_files, edits=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1))
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_bytes_give_a_result_or_a_format_error(
    file: Path, compressed: bool, data: bytes, edits: list[tuple[int, int]]
) -> None:
    damaged = bytearray(gzip.compress(data) if compressed else data)
    for position, value in edits:
        damaged[position % len(damaged)] = value
    file.write_bytes(damaged)
    try:
        idx.read(file)
    except FormatError as error:
        assert str(file) in str(error)


@given(data=small_files, keep=st.floats(0, 1, exclude_max=True))
@pytest.mark.parametrize("compressed", [False, True])
def test_cut_files_are_refused(file: Path, compressed: bool, data: bytes, keep: float) -> None:
    whole = gzip.compress(data) if compressed else data
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(FormatError):
        idx.read(file)


@given(data=small_files, extra=st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused(file: Path, data: bytes, extra: bytes) -> None:
    for whole in (data + extra, gzip.compress(data + extra)):
        file.write_bytes(whole)
        with pytest.raises(FormatError, match="goes on after the"):
            idx.read(file)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_lies_is_refused_before_memory_is_taken(file: Path, compressed: bool) -> None:
    data = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc"
    file.write_bytes(gzip.compress(data) if compressed else data)
    with pytest.raises(FormatError, match="declares 79228162458924105385300197375 bytes"):
        idx.read(file)


def test_impossible_shapes_without_elements_are_refused(file: Path) -> None:
    file.write_bytes(struct.pack(">HBB4I", 0, 8, 4, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(FormatError, match="is impossible"):
        idx.read(file)


@pytest.mark.parametrize("data", [b"", b"\0\0\x08", b"PK\3\4zip..", b"\0\0\x0a\1\0\0\0\0"])
def test_other_formats_are_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(FormatError, match=r"not an IDX file|within the header"):
        idx.read(file)


def test_a_wrong_crc_is_noticed(file: Path) -> None:
    data = bytearray(gzip.compress(encode(np.arange(9, dtype=np.uint8))))
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(FormatError, match="damaged gzip data"):
        idx.read(file)


def test_a_wrong_checksum_names_both_digests(file: Path) -> None:
    data = encode(np.arange(3, dtype=np.uint8))
    file.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        idx.read(file, "0" * 64)
    assert hashlib.sha256(data).hexdigest() in str(caught.value)
    assert "0" * 64 in str(caught.value) and "delete it" in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "nothing")
