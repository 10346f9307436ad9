"""Reading compressed data and tar archives as they come, with bounds on everything.

The standard library's readers join gzip members, take headers of any length into memory and walk
through names byte by byte, so what a file costs is up to its author. These read one gzip member
and the ordinary members of a tar archive, and hold no more than a chunk of either.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from autodan.errors import FormatError

__all__ = ["DEFLATE_MAX_RATIO", "GZIP_MAGIC", "Inflated", "Member", "Stream", "members", "read"]

GZIP_MAGIC = b"\x1f\x8b"
# What one byte of a deflate stream can stand for at most (zlib's technical notes).
DEFLATE_MAX_RATIO = 1032
COMPRESSED_CHUNK = 1 << 16
CHUNK = 1 << 20
# What zlib calls a window of 32 KiB and gzip's header and checksum.
GZIP_FORMAT = 31

BLOCK = 512
# What tar may add after its end mark, to fill the last record of 20 blocks.
PADDING = 20 * BLOCK
ORDINARY = (b"0", b"\0")


class Stream(Protocol):
    """What these functions read from; 0 from `readinto` is the end."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fills the buffer's beginning with the next bytes and returns how many."""
        ...


def read(stream: Stream, view: memoryview) -> int:
    """Fills a view from a stream as far as the stream goes, and returns how far that is.

    >>> view = memoryview(bytearray(b"....."))
    >>> read(io.BytesIO(b"abc"), view), bytes(view)
    (3, b'abc..')
    """
    done = 0
    while done < len(view):
        count = stream.readinto(view[done : done + CHUNK])
        if not count:
            break
        done += count
    return done


class Inflated(io.RawIOBase):
    """The decompressed bytes of a gzip file of one member.

    Args:
        file: the compressed file, open at its start.
        place: its name, for messages.

    Raises:
        FormatError: from `readinto`: the file is damaged, cut short or goes on after its end.

    Example:
        >>> import gzip
        >>> Inflated(io.BytesIO(gzip.compress(b"abc")), "letters.gz").readall()
        b'abc'
    """

    def __init__(self, file: io.BufferedIOBase, place: str) -> None:
        self._file = file
        self._place = place
        self._inflate = zlib.decompressobj(GZIP_FORMAT)
        self._pending = b""

    def readable(self) -> bool:
        """Returns True: that is what it is for."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Decompresses the next bytes into the buffer and returns how many; 0 at the end."""
        if not len(buffer):
            return 0
        while not self._inflate.eof:
            compressed = self._pending or self._file.read(COMPRESSED_CHUNK)
            try:
                data = self._inflate.decompress(compressed, len(buffer))
            except zlib.error as error:
                raise FormatError(f"{self._place}: damaged gzip data: {error}") from error
            self._pending = self._inflate.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not compressed and not self._inflate.eof:
                raise FormatError(f"{self._place}: ends within its gzip data")
        if self._inflate.unused_data or self._file.read(1):
            raise FormatError(f"{self._place}: goes on after the end of its gzip data")
        return 0


@dataclass
class Member:
    """An entry of a tar archive, to be read while the iteration stands at it.

    Args:
        name: the last part of the entry's name, which is no path.
        size: its length in bytes.
        ordinary: whether it is a file, not a folder, a link or an extended header.
        stream: the archive.
        place: the archive's name, for messages.
    """

    name: str
    size: int
    ordinary: bool
    stream: Stream
    place: str

    def __post_init__(self) -> None:
        self._left = self.size

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Reads the next bytes of the content and returns how many; 0 at its end."""
        view = memoryview(buffer)[: self._left]
        count = read(self.stream, view)
        if count < len(view):
            raise FormatError(f"{self.place}: ends within {self.name}, of {self.size} bytes")
        self._left -= count
        return count

    def skip(self) -> None:
        """Reads what is left of the content, and the padding to a whole block."""
        self._left += -self.size % BLOCK
        scratch = memoryview(bytearray(min(self._left, CHUNK)))
        while self.readinto(scratch):
            pass


def members(stream: Stream, place: str) -> Iterator[Member]:
    """Goes through the entries of a tar archive in one pass and requires its end.

    Extended headers are passed over like other entries that are not ordinary: they serve for
    names, sizes and holes that the data sets here do not have.

    Args:
        stream: the archive, not compressed.
        place: its name, for messages.

    Raises:
        FormatError: the archive is damaged, cut short or goes on after its end.

    Example:
        >>> [member.name for member in members(io.BytesIO(bytes(1024)), "empty.tar")]
        []
    """
    header = bytearray(BLOCK)
    while True:
        if read(stream, memoryview(header)) < BLOCK:
            raise FormatError(f"{place}: damaged archive: ends without an end mark")
        if not any(header):
            break
        member = _parse(bytes(header), stream, place)
        yield member
        member.skip()
    rest = bytearray(PADDING + 1)
    if read(stream, memoryview(rest)) > PADDING or any(rest):
        raise FormatError(f"{place}: goes on after the end of the archive")


def _parse(header: bytes, stream: Stream, place: str) -> Member:
    checksum = sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")
    if _number(header[148:156]) != checksum:
        raise FormatError(f"{place}: damaged archive: a header's checksum is wrong")
    size = _number(header[124:136])
    if size is None:
        raise FormatError(f"{place}: damaged archive: a size of {header[124:136]!r}")
    path = header[:100].split(b"\0", 1)[0].decode("ascii", "replace")
    kind, name = header[156:157], path.rpartition("/")[2]
    return Member(name, size, kind in ORDINARY and bool(name), stream, place)


def _number(field: bytes) -> int | None:
    """A number in octal digits, or in binary after a byte 128; None for anything else."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None
