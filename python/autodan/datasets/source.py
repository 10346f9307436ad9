"""Where the files of a data set come from: a folder, the cache, or a mirror.

A file is looked for in `$AUTODAN_DATA/<name>/`, then in the user's cache, and is downloaded
into the cache last. A download is written beside its final name, checked, flushed to disk and
only then renamed: a file that bears its final name is whole.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autodan.errors import DatasetNotFoundError, FormatError
from autodan.utils.files import whole_file
from autodan.utils.regular import open_regular

__all__ = ["Source", "cache_dir", "require_sha256"]

CHUNK = 1 << 20
CONNECT_AND_READ_SECONDS = (5, 30)


@dataclass(frozen=True)
class Source:
    """The name of a data set, its files, and the places that serve them.

    Args:
        name: name of the data set, and of its folder.
        files: the names of its files, the same on every mirror.
        mirrors: URL prefixes, each ending in `/`, tried in this order.

    Example:
        >>> toy = Source("toy", files=("toy.gz",), mirrors=("https://example.org/",))
        >>> toy.name, toy.files
        ('toy', ('toy.gz',))
    """

    name: str
    files: tuple[str, ...]
    mirrors: tuple[str, ...]

    def locate(
        self,
        filename: str,
        check: Callable[[Path], object],
        *,
        forms: Sequence[str] = (),
        folder: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Returns the path of one file of the data set, downloading it if need be.

        Args:
            filename: the file's name on the mirrors.
            check: raises `FormatError` for a downloaded file that is not the right one; it is
                called before the file gets its name. Files that were there are not checked.
            forms: other names, of files or folders, that serve as well.
            folder: look in this folder, or its sub-folder of the data set's name, and nowhere
                else. None (default) looks in the usual places.

        Returns:
            The path of what was found or downloaded.

        Raises:
            DatasetNotFoundError: the file is nowhere; the message says how to supply it.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as place:
            ...     _ = Path(place, "toy.gz").write_bytes(b"...")
            ...     toy = Source("toy", files=("toy.gz",), mirrors=())
            ...     toy.locate("toy.gz", check=print, folder=place).name
            'toy.gz'
        """
        looked = []
        for place in self._places(folder):
            looked.append(place)
            for name in (filename, *forms):
                if (place / name).exists():
                    return place / name
        if folder is not None:
            raise self._not_found(str(folder), looked, [])
        return self._download(filename, check, looked)

    def _places(self, folder: str | os.PathLike[str] | None) -> Iterator[Path]:
        if folder is not None:
            yield Path(folder, self.name)
            yield Path(folder)
            return
        if data := os.environ.get("AUTODAN_DATA"):
            yield Path(data, self.name)
        yield cache_dir() / self.name

    def _download(
        self, filename: str, check: Callable[[Path], object], looked: Sequence[Path]
    ) -> Path:
        target = cache_dir() / self.name / filename
        answers = []
        for mirror in self.mirrors:
            url = mirror + filename
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(target) as partial:
                    http_get(url, partial)
                    check(partial)
            except (OSError, ImportError, ValueError) as error:
                # requests' exceptions are OSErrors; FormatError is a ValueError.
                answers.append(f"{url}: {_first_line(error)}")
            else:
                return target
        place = f"{target.parent} or $AUTODAN_DATA/{self.name}"
        raise self._not_found(place, looked, answers)

    def _not_found(
        self, place: str, looked: Sequence[Path], answers: Sequence[str]
    ) -> DatasetNotFoundError:
        lines = [
            f"{self.name}: put {', '.join(self.files)} into {place} and try again",
            *(f"  not found in {path}" for path in looked),
            *(f"  not had from {answer}" for answer in answers),
        ]
        return DatasetNotFoundError("\n".join(lines))


def cache_dir() -> Path:
    """Returns the folder under which downloaded data sets are kept.

    `$XDG_CACHE_HOME/autodan` where that variable holds an absolute path; else
    `~/.cache/autodan`, on macOS `~/Library/Caches/autodan`, on Windows
    `%LOCALAPPDATA%/autodan`.

    Example:
        >>> cache_dir().name
        'autodan'
    """
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(configured):  # the XDG specification: ignore relative paths
        return Path(configured, "autodan")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "autodan"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local, "autodan")
    return Path.home() / ".cache" / "autodan"


def require_sha256(path: Path, expected: str) -> None:
    """Raises `FormatError` unless the file's bytes have this SHA-256.

    Args:
        path: a file.
        expected: 64 hexadecimal digits.

    Raises:
        FormatError: the file is another one; the message has both digests. Or it is no
            ordinary file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     file = Path(place, "empty")
        ...     _ = file.write_bytes(b"")
        ...     require_sha256(file, hashlib.sha256().hexdigest())
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise FormatError(
            f"{path}: the SHA-256 is {digest.hexdigest()}, expected {expected}: "
            "damaged, or another file"
        )


def http_get(url: str, target: Path) -> None:
    """Downloads a URL into a file, with a progress bar where standard error is a terminal.

    Args:
        url: an http or https address.
        target: the file to write.

    Raises:
        OSError: no connection, a time-out, an HTTP error status, or a full disk.
        ImportError: pooch is not installed.

    Example:
        >>> http_get("https://example.org/digits.gz", Path("digits.gz"))  # doctest: +SKIP
    """
    import pooch  # slow to import, and needed only here

    print(f"Downloading {url}", file=sys.stderr)
    download = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=CONNECT_AND_READ_SECONDS
    )
    download(url, str(target), None)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
