"""What the documents say: their code runs, their commands and paths are right."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autodan import datasets

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    ROOT / "fuzz" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
README = TEXTS["README.md"]
INSTALL = "pip install . && autodan train digits"
TEST = "pip install '.[test]' && pytest"

each_document = pytest.mark.parametrize("name", TEXTS)


def code_blocks(text: str) -> list[str]:
    """The Python code in fences, without the indentation of a list."""
    fences = re.finditer(r"^( *)```python\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{fence[1]}", "", fence[2], flags=re.MULTILINE) for fence in fences]


def test_the_readme_and_the_ci_have_the_same_commands() -> None:
    lines = [line.split("#")[0].strip() for line in README.splitlines()]
    assert INSTALL in lines and TEST in lines
    assert lines.index(TEST) == lines.index(INSTALL) + 1
    assert TEST in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_code_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    train, differentiate = code_blocks(README)
    exec(compile(train, "README.md", "exec"), {})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("loss and accuracy: [")
    assert 0.9 < float(last.rstrip("]").rpartition(", ")[2]) <= 1
    exec(compile(differentiate, "README.md", "exec"), {})
    assert capsys.readouterr().out == "[2.0, 4.0, 6.0]\n"


def test_the_readme_shows_ten_lines() -> None:
    train = code_blocks(README)[0]
    assert len([line for line in train.splitlines() if line.strip()]) == 10


def test_the_readme_names_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"pip install '\.\[(\w+)\]'", README))
    assert named == set(project["optional-dependencies"])


@each_document
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    links = re.findall(r"\]\(([^)#\s]+)", TEXTS[name])
    missing = [link for link in links if "://" not in link and not (folder / link).exists()]
    assert not missing


@each_document
def test_paths_exist(name: str) -> None:
    paths = re.findall(
        r"`((?:rust|python|tests|tools|docs|examples|benches|fuzz)/[\w./]+)`", TEXTS[name]
    )
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_promises_about_files_name_tests_that_exist() -> None:
    promises = TEXTS["SECURITY.md"]
    places = set(re.findall(r"`(tests/[\w./]+\.py)`", promises))
    tests = {
        test
        for place in places
        for test in re.findall(r"^def (test_\w+)", (ROOT / place).read_text(), re.MULTILINE)
    }
    named = re.findall(r"`(test_[\w*]+)`", promises)
    assert len(named) >= 5
    for name in named:
        assert any(re.fullmatch(name.replace("*", r"\w*"), test) for test in tests), name


def test_the_row_in_the_architecture_is_that_of_the_table() -> None:
    [row] = re.findall(r"```rust\n(.*?)```", TEXTS["docs/architecture.md"], re.DOTALL)
    table = (ROOT / "rust/core/src/ops/unary.rs").read_text(encoding="utf-8")
    assert " ".join(row.split()) in " ".join(table.split())


def test_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    labels = np.arange(64, dtype=np.uint8) % 10
    monkeypatch.setattr(datasets.mnist, "load_data", lambda: ((images, labels), (images, labels)))
    runpy.run_path(str(ROOT / "examples" / "mnist.py"))
    assert re.search(r"\ntest accuracy: [01]\.\d{4}\n$", capsys.readouterr().out)
