"""Where data sets are looked for, how they are downloaded, and what is said when they are not."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from autodan.datasets import source as source_module
from autodan.datasets.source import Source, cache_dir, require_sha256
from autodan.errors import DatasetNotFoundError, FormatError

CONTENT = b"the right content"
TOY = Source("toy", files=("toy.gz", "more.gz"), mirrors=("https://one/", "https://two/"))


def check(path: Path) -> None:
    require_sha256(path, hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTODAN_DATA", raising=False)
    return tmp_path / "cache" / "autodan"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | Exception]:
    """What each address answers; an address that is missing refuses the connection."""
    answers: dict[str, bytes | Exception] = {}

    def get(url: str, target: Path) -> None:
        answer = answers.get(url, ConnectionError(f"no route to {url}"))
        if isinstance(answer, Exception):
            target.write_bytes(b"half of")
            raise answer
        target.write_bytes(answer)

    monkeypatch.setattr(source_module, "http_get", get)
    return answers


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_autodan_data_comes_before_the_cache_and_the_cache_before_the_web(
    tmp_path: Path,
    cache: Path,
    web: dict[str, bytes | Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web["https://one/toy.gz"] = CONTENT
    downloaded = TOY.locate("toy.gz", check)
    assert downloaded == cache / "toy" / "toy.gz" and downloaded.read_bytes() == CONTENT

    web.clear()
    assert TOY.locate("toy.gz", check) == downloaded

    monkeypatch.setenv("AUTODAN_DATA", str(tmp_path / "data"))
    assert TOY.locate("toy.gz", check) == downloaded
    mine = put(tmp_path / "data" / "toy" / "toy.gz")
    assert TOY.locate("toy.gz", check) == mine


def test_other_forms_serve_as_well(cache: Path) -> None:
    plain = put(cache / "toy" / "toy")
    assert TOY.locate("toy.gz", check, forms=("toy",)) == plain


@pytest.mark.parametrize("below", ["toy", "."])
def test_a_given_folder_or_its_subfolder_is_searched(tmp_path: Path, below: str) -> None:
    file = put(tmp_path / below / "toy.gz")
    assert TOY.locate("toy.gz", check, folder=tmp_path) == file


def test_a_given_folder_is_the_only_place(
    tmp_path: Path, cache: Path, web: dict[str, bytes | Exception]
) -> None:
    put(cache / "toy" / "toy.gz")
    web["https://one/toy.gz"] = CONTENT
    with pytest.raises(DatasetNotFoundError) as caught:
        TOY.locate("toy.gz", check, folder=tmp_path / "empty")
    first = str(caught.value).splitlines()[0]
    assert first == f"toy: put toy.gz, more.gz into {tmp_path / 'empty'} and try again"


def test_the_next_mirror_is_asked_when_one_fails(
    cache: Path, web: dict[str, bytes | Exception]
) -> None:
    web["https://two/toy.gz"] = CONTENT
    assert TOY.locate("toy.gz", check).read_bytes() == CONTENT
    assert [path.name for path in (cache / "toy").iterdir()] == ["toy.gz"]


def test_the_next_mirror_is_asked_when_the_content_is_wrong(
    cache: Path, web: dict[str, bytes | Exception]
) -> None:
    web.update({"https://one/toy.gz": b"<html>not found</html>", "https://two/toy.gz": CONTENT})
    assert TOY.locate("toy.gz", check).read_bytes() == CONTENT


def test_the_error_says_what_to_do_then_what_was_tried(
    tmp_path: Path,
    cache: Path,
    web: dict[str, bytes | Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTODAN_DATA", str(tmp_path / "data"))
    web["https://two/toy.gz"] = b"wrong"
    with pytest.raises(FileNotFoundError) as caught:
        TOY.locate("toy.gz", check)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"toy: put toy.gz, more.gz into {cache / 'toy'} or $AUTODAN_DATA/toy and try again"
    )
    assert lines[1:3] == [
        f"  not found in {tmp_path / 'data' / 'toy'}",
        f"  not found in {cache / 'toy'}",
    ]
    assert lines[3] == "  not had from https://one/toy.gz: no route to https://one/toy.gz"
    assert lines[4].startswith("  not had from https://two/toy.gz: ") and "SHA-256" in lines[4]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ConnectionError("cut")])
def test_a_failed_download_leaves_nothing_behind(
    cache: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def get(url: str, target: Path) -> None:
        target.write_bytes(CONTENT[:5])
        raise failure

    monkeypatch.setattr(source_module, "http_get", get)
    with pytest.raises((KeyboardInterrupt, DatasetNotFoundError)):
        TOY.locate("toy.gz", check)
    assert list((cache / "toy").iterdir()) == []


def test_a_file_has_its_name_only_when_it_is_whole(
    cache: Path, web: dict[str, bytes | Exception]
) -> None:
    def look(path: Path) -> None:
        assert path.read_bytes() == CONTENT and path.parent == cache / "toy"
        assert not (cache / "toy" / "toy.gz").exists()

    web["https://one/toy.gz"] = CONTENT
    assert TOY.locate("toy.gz", look).read_bytes() == CONTENT


DOWNLOADER = """
import sys, time
from pathlib import Path
from autodan.datasets import source

def slowly(url, target):
    with open(target, "wb") as file:
        for byte in b"the right content":
            file.write(bytes([byte]))
            file.flush()
            time.sleep(0.02)

def check(path):
    assert path.read_bytes() == b"the right content", path.read_bytes()

source.http_get = slowly
toy = source.Source("toy", ("toy.gz",), ("https://one/",))
print(toy.locate("toy.gz", check).read_bytes().decode())
"""


def test_processes_that_download_at_once_all_get_the_file(cache: Path) -> None:
    command = [sys.executable, "-c", DOWNLOADER]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and out.decode().strip() == CONTENT.decode()
    assert [path.name for path in (cache / "toy").iterdir()] == ["toy.gz"]


def test_without_pooch_the_error_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(DatasetNotFoundError, match="pooch"):
        TOY.locate("toy.gz", check)


def test_pooch_is_called_as_it_wants(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pooch = pytest.importorskip("pooch")
    calls: list[tuple[str, dict[str, object]]] = []

    class Downloader:
        def __init__(self, **options: object) -> None:
            self.options = options

        def __call__(self, url: str, output_file: str, pooch: object) -> None:
            calls.append((url, self.options))
            Path(output_file).write_bytes(CONTENT)

    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
    assert TOY.locate("toy.gz", check).read_bytes() == CONTENT
    (url, options), *others = calls
    assert url == "https://one/toy.gz" and not others
    assert options["progressbar"] is False and options["timeout"] == (5, 30)
    assert capsys.readouterr().err == "Downloading https://one/toy.gz\n"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/autodan"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/autodan"),
        ("linux", {}, "/home/me/.cache/autodan"),
        ("darwin", {}, "/home/me/Library/Caches/autodan"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/autodan"),
    ],
)
def test_cache_dir_follows_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(source_module.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_dir() == Path(expected)


def test_require_sha256_names_the_file(tmp_path: Path) -> None:
    file = put(tmp_path / "file", b"other")
    with pytest.raises(FormatError, match="expected 00") as caught:
        require_sha256(file, "00")
    assert str(file) in str(caught.value)
