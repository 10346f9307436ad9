"""Opening the files that users name: ordinary ones only, so that nothing waits or answers back."""

from __future__ import annotations

import io
import os
import stat

from autodan.errors import FormatError

__all__ = ["open_regular"]


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens an ordinary file for reading in binary.

    To open a pipe would wait for its writer, and to open a device may do anything, so what is
    neither a file nor a link to one is refused without being opened.

    Args:
        path: the file.

    Raises:
        FormatError: the path leads to a folder, a pipe, a device or a socket.
        OSError: the file is not there or may not be read.

    Example:
        >>> open_regular(os.devnull)
        Traceback (most recent call last):
        ...
        autodan.errors.FormatError: /dev/null: not an ordinary file
    """
    path = os.fspath(path)  # a number would be the file that is open under it
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FormatError(f"{path}: not an ordinary file")
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # exchanged since
        file.close()
        raise FormatError(f"{path}: not an ordinary file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
