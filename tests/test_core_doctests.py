"""The examples in the documentation of compiled functions, which `doctest` does not find."""

from __future__ import annotations

import doctest
import types
from collections.abc import Iterator

import pytest

import autodan
from autodan import _core

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def documented() -> Iterator[tuple[str, str]]:
    """Every public function, class, method and attribute of the compiled module, with its text."""
    for name, value in vars(_core).items():
        if name.startswith("_"):
            continue
        yield name, value.__doc__ or ""
        if isinstance(value, type):
            for member_name, member in vars(value).items():
                if not member_name.startswith("_"):
                    yield f"{name}.{member_name}", member.__doc__ or ""


DOCUMENTED = dict(documented())


def test_the_collection_finds_functions_methods_and_attributes() -> None:
    assert {"exp", "Tensor", "Tensor.sum", "Tensor.shape", "Variable.assign"} <= set(DOCUMENTED)
    assert all(
        isinstance(getattr(_core, name), types.BuiltinFunctionType) for name in ("exp", "sum")
    )


@pytest.mark.parametrize("name", DOCUMENTED)
def test_example(name: str) -> None:
    text = DOCUMENTED[name]
    names = {"ad": autodan, "_core": _core}
    test = doctest.DocTestParser().get_doctest(text, names, f"autodan._core.{name}", None, 0)
    assert test.examples, f"{name} has no example in its documentation"
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)
