"""Writing files that are whole at every moment."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["check_writable", "whole_file"]

_SUFFIX = ".part"
# File names have at most 255 bytes; this leaves room for what makes the temporary one unique.
_LONGEST_STEM = 200


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file to write, which becomes `path` at once and whole, or not at all.

    The temporary file lies in the same folder, under a hidden name that ends in ".part". When the
    block ends it is flushed to disk and renamed, and the folder is flushed too; so whoever opens
    `path` sees the old content or the new one, even after a crash. When the block fails, the
    temporary file is removed and `path` stays as it was. A process that is killed leaves its
    temporary file behind; the next writer of the same `path` removes it.

    A new file gets the permissions that the umask allows, a replaced one keeps its own. If `path`
    is a symbolic link, the file that it points to is replaced.

    Args:
        path: The file to create or replace. Its folder must exist.

    Yields:
        The path of the temporary file, which exists and is empty.

    Raises:
        OSError: the file cannot be written; the error names `path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "note.txt")) as partial:
        ...         _ = partial.write_text("done")
        ...     Path(folder, "note.txt").read_text()
        'done'
    """
    target = Path(os.path.realpath(path))
    with _naming(path, target), _temporary(target) as (partial, handle):
        yield partial
        os.fsync(handle)
        os.replace(partial, target)
        _flush_folder(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out at once whether `whole_file` could write a file, and leave no trace.

    Raises:
        OSError: it could not; the error names `path`.

    Example:
        >>> check_writable("/no such folder/model.keras")
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: '/no such folder/model.keras'
    """
    target = Path(os.path.realpath(path))
    with _naming(path, target), _temporary(target):
        pass


@contextmanager
def _naming(path: str | os.PathLike[str], target: Path) -> Iterator[None]:
    """Let errors that name the temporary file, or none, name the file that the user named."""
    try:
        yield
    except OSError as error:
        folder, stem = str(target.parent), str(target.parent / _stem(target))
        named = str(error.filename or "")
        ours = named in ("", folder, str(target)) or named.startswith(stem)
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, int]]:
    """Create the temporary file of a target, and remove it if it is still there at the end."""
    mode = _mode(target)
    _remove_leftovers(target)
    partial, handle = _create(target, mode)
    try:
        yield partial, handle
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        os.close(handle)


def _mode(target: Path) -> int | None:
    """Return the permissions of the file to replace, None where there is none."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(status.st_mode):  # to replace a device would destroy it
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(target))
    return stat.S_IMODE(status.st_mode)


def _stem(target: Path) -> str:
    return "." + os.fsdecode(os.fsencode(target.name)[:_LONGEST_STEM]) + "."


def _create(target: Path, mode: int | None) -> tuple[Path, int]:
    """Create the temporary file, locked for as long as its writer lives."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        partial = target.parent / f"{_stem(target)}{secrets.token_hex(8)}{_SUFFIX}"
        handle = os.open(partial, flags, 0o666 if mode is None else 0o600)
        try:
            if mode is not None and sys.platform != "win32":
                os.fchmod(handle, mode)
            # Before it was locked, another writer may have taken it for a leftover.
            if _lock(handle) is not False and os.fstat(handle).st_nlink:
                return partial, handle
        except BaseException:
            os.close(handle)
            partial.unlink(missing_ok=True)
            raise
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock a file; False if another process has, None where files cannot be locked."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of writers that were killed: those that nobody has locked."""
    pattern = re.compile(re.escape(_stem(target)) + "[0-9a-f]{16}" + re.escape(_SUFFIX))
    try:
        leftovers = [name for name in os.listdir(target.parent) if pattern.fullmatch(name)]
    except OSError:  # a folder that may be written to but not listed
        return
    for name in leftovers:
        leftover = target.parent / name
        with suppress(OSError):
            handle = os.open(leftover, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(handle):
                    leftover.unlink()
            finally:
                os.close(handle)


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, nor needs it
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to but not read
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
