"""Every row of the table of ops: no argument goes untried, and wrong ones are refused."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checks import rows
from hypothesis import Phase, given, seed, settings
from opspecs import SPECS, Call, Spec
from opspecs.spec import elementwise

import autodan as ad
from autodan import _core, ops

ROUNDS = 30


def is_operand(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(is_operand, value))
    return isinstance(value, (ad.Tensor, np.ndarray))


def function_of(name: str) -> Any:
    return getattr(ops, name, None) or getattr(_core, name)


class Recorder:
    """Stands for a public function and remembers which values its arguments had."""

    def __init__(self, function: Any) -> None:
        self.signature = inspect.signature(function)
        self.seen: dict[str, set[str]] = {name: set() for name in self.signature.parameters}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            self.seen[name].add("an operand" if is_operand(value) else repr(value))

    def untried(self) -> list[str]:
        """Return the arguments that were the same, perhaps their default, in all calls."""
        required = {n for n, p in self.signature.parameters.items() if p.default is p.empty}
        return [
            name
            for name, values in self.seen.items()
            if len(values) < 2 and not (name in required and values == {"an operand"})
        ]


def untried(spec: Spec, patch: pytest.MonkeyPatch, rounds: int = ROUNDS) -> list[str]:
    """Return the arguments of a row's function that neither its calls nor its errors vary."""
    function = function_of(spec.name)
    recorder = Recorder(function)
    for module in (ad, ops, _core):
        if getattr(module, spec.name, None) is function:
            patch.setattr(module, spec.name, recorder)
    op = recorder if spec.op is function else spec.op

    @settings(max_examples=5, phases=[Phase.generate])
    @given(call=spec.calls)
    def run(call):
        op(*map(ad.zeros, call.shapes), **call.kwargs)

    for error in spec.errors:
        with contextlib.suppress(Exception):
            error.call()
    for round_ in range(rounds):
        seed(round_)(run)()
        if not recorder.untried():
            break
    return recorder.untried()


@rows()
def test_every_argument_is_tried(spec, monkeypatch):
    assert untried(spec, monkeypatch) == []


def test_an_argument_that_is_never_passed_is_found(monkeypatch):
    spec = next(spec for spec in SPECS if spec.name == "elu")
    plain = replace(spec, calls=elementwise(1), errors=())
    assert untried(plain, monkeypatch, rounds=1) == ["alpha"]


# -- errors --------------------------------------------------------------------------------------


@rows()
def test_every_row_has_wrong_calls(spec):
    assert spec.errors


@pytest.mark.parametrize(
    ("spec", "position"),
    [(spec, i) for spec in SPECS for i in range(len(spec.errors))],
    ids=lambda value: value.name if isinstance(value, Spec) else str(value),
)
def test_errors(spec, position):
    error = spec.errors[position]
    with pytest.raises(error.exception, match=error.message) as caught:
        error.call()
    assert type(caught.value) is error.exception


# What is no tensor, and the words by which its message must call it.
NO_TENSORS = (
    (None, "object|None"),
    ("text", "<U4|str|'text'"),
    (b"bytes", r"\|S5|bytes"),
    (np.array([object()]), "object"),
    (1j, "complex"),
    (np.ones(2, "complex64"), "complex64"),
    (np.ones(2, "datetime64[s]"), "datetime64"),
    ([[1.0], [1.0, 2.0]], "list|inhomogeneous"),
    ({1.0}, "object|set"),
    (object, "object|type"),
)
OPTIONAL = {"average": (1,), "batch_norm": (1, 2), "batch_normalization": (3, 4)}


def simplest(spec: Spec) -> Call:
    """Return the simplest call of an op, the one that hypothesis tries first."""
    found = []

    @settings(max_examples=1, phases=[Phase.generate], derandomize=True)
    @given(call=spec.calls)
    def first(call):
        found.append(call)

    first()
    return found[0]


@rows()
def test_what_is_no_tensor_is_refused(spec):
    call = simplest(spec)
    for place in range(len(call.shapes)):
        for wrong, words in NO_TENSORS:
            if wrong is None and place in OPTIONAL.get(spec.name, ()):
                continue
            operands = [ad.ones(shape) for shape in call.shapes]
            operands[place] = wrong
            with pytest.raises((TypeError, ValueError), match=words):
                spec.op(*operands, **call.kwargs)


WITH_AXIS = [spec for spec in SPECS if "axis" in simplest(spec).kwargs]


@rows(WITH_AXIS)
def test_what_is_no_axis_is_refused(spec):
    call = simplest(spec)
    dtype = "int64" if spec.name.endswith("hot") else "float32"
    operands = [ad.ones((2, 2), dtype) for _ in call.shapes]
    for wrong, exception, words in (
        (9, IndexError, "axis 9 is out of bounds"),
        (-9, IndexError, "axis -9 is out of bounds"),
        ("rows", TypeError, "str|'rows'|'r'"),
        (0.5, TypeError, "float|0.5"),
        (object(), TypeError, "object|integer"),
        (2**70, (IndexError, OverflowError, ValueError), "large|address space|out of bounds|fit"),
    ):
        with pytest.raises(exception, match=words):
            spec.op(*operands, **{**call.kwargs, "axis": wrong})


@rows()
def test_arguments_too_many_or_unknown_are_refused(spec):
    function = function_of(spec.name)
    count = len(inspect.signature(function).parameters)
    with pytest.raises(TypeError, match=rf"{spec.name}\(\) (takes|.*positional)"):
        function(*[1.0] * (count + 1))
    with pytest.raises(TypeError, match=rf"{spec.name}\(\) .*(unexpected|missing|takes)"):
        function(colour="red")
