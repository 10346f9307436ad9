"""A few hundred calls of everything public with arguments that are right, wrong and hostile.

`tests/stress/bad_calls.py` makes any number of them, and says how to repeat one.
"""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import calls
from hostile.callables import EXCLUDED, MODULES, Target, targets

import autodan as ad
from autodan import _core

CAMPAIGN = Path(__file__).parent / "stress" / "bad_calls.py"


def test_generated_calls_give_a_result_or_a_documented_exception() -> None:
    # With CI set, the same calls each time.
    seed = "0" if os.environ.get("CI") else str(int.from_bytes(os.urandom(3)))
    command = [sys.executable, str(CAMPAIGN), "--count", "1500", "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,500 calls" in done.stdout and done.stdout.rstrip().endswith("0 failures")


def test_everything_public_is_called() -> None:
    names = {target.name for target in targets()}
    for op in ad.ops.__all__:
        assert {f"autodan.{op}", f"autodan.ops.{op}"} & names or any(
            getattr(ad.ops, target.name.rpartition(".")[2], None) is getattr(ad.ops, op)
            for target in targets()
            if target.receiver is None
        ), op
    for method in (
        "Tensor.__getitem__",
        "Tensor.grad",
        "Variable.assign",
        "Model.fit",
        "Dense.call",
    ):
        assert method in names
    known = names | {f"{module}.{name}" for module in MODULES for name in dir(sys.modules[module])}
    classes = {base for cls in (ad.Layer, ad.GradientTape) for base in inspect.getmro(cls)}
    known |= {f"{cls.__name__}.{name}" for cls in classes for name in dir(cls)}
    assert set(EXCLUDED) <= known, "an exclusion that excludes nothing"


def judge(function: object) -> str:
    """What is found wrong with a call of a function without arguments."""
    return calls.outcome(calls.Call(Target("autodan.f", None, "", function, "function"))).fault  # type: ignore[arg-type]


def test_the_judge_finds_what_it_is_for() -> None:
    held = np.zeros(3)

    def internal() -> None:
        raise ad.InternalError("internal error: 1; please report it")

    def key() -> None:
        raise KeyError("x")

    def silent() -> None:
        raise ValueError

    def recursive() -> None:
        recursive()

    def state() -> None:
        _core.set_grad_enabled(False)

    def errors() -> None:
        np.seterr(over="raise")

    class Panic(BaseException):
        pass

    def panic() -> None:
        raise Panic("capacity overflow")

    before = calls.state(), np.geterr()
    try:
        for function, said in [
            (internal, "raised InternalError"),
            (key, "raised KeyError"),
            (silent, "with the text ''"),
            (recursive, "raised RecursionError"),
            (state, "changed the state"),
            (errors, "changed the state"),
            (panic, "raised Panic"),
        ]:
            assert said in judge(function), function
            calls.restore(before[0])
            np.seterr(**before[1])
    finally:
        calls.restore(before[0])
        np.seterr(**before[1])
    call = calls.Call(
        Target("autodan.f", None, "", lambda x: x.fill(1), "function"), [("zeros", held)]
    )
    assert "changed an argument" in calls.outcome(call).fault
    assert judge(lambda: None) == ""


def test_a_crash_is_told_with_its_call(tmp_path: Path) -> None:
    """The campaign survives what kills its children, and names the call."""
    wrapper = tmp_path / "crash.py"
    wrapper.write_text(
        "import os, sys\n"
        f"sys.path[:0] = [{str(CAMPAIGN.parent)!r}, {str(CAMPAIGN.parents[1])!r}]\n"
        "import bad_calls\n"
        "from hostile import calls\n"
        "def outcome(call):\n"
        "    os.abort() if call.target.name == 'autodan.add' else None\n"
        "    return calls.Outcome('result')\n"
        "calls.outcome = outcome\n"
        "bad_calls.__file__ = __file__\n"
        "sys.exit(bad_calls.main())\n"
    )
    command = [sys.executable, str(wrapper), "--count", "40", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "autodan.add(" in done.stdout and "the process died" in done.stdout
    assert "39 result, 1 crash; " in done.stdout and done.stdout.endswith(" 1 failures\n")


class Lying:
    """A sequence whose length is not true."""

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, i: int) -> float:
        return [1.0, 2.0][i]


def test_a_sequence_that_lies_about_its_length_is_read_to_its_end() -> None:
    assert ad.stack(Lying()).tolist() == [1.0, 2.0]  # type: ignore[arg-type]
    assert _core.global_norm(Lying()).item() == pytest.approx(5**0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a list or a tuple, got"):
        ad.stack(itertools.count())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a list or a tuple, got 'abc'"):
        ad.concatenate("abc")  # type: ignore[arg-type]


def test_misaligned_arrays_are_copied() -> None:
    array = np.arange(25, dtype="u1")[1:].view("f4").reshape(2, 3)
    assert not array.flags.aligned
    for x in (ad.tensor(array), ad.asarray(array), ad.exp(array) * 0 + array):
        assert x.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "value", [10**5000, "x" * 10**6, [10**5000] * 5], ids=["int", "str", "list"]
)
def test_messages_show_arguments_in_part(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    for call in (ad.zeros, lambda x: ad.tensor([1, 2]) + x, lambda x: ad.zeros(2, dtype=x)):
        with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
            call(value)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 1000
    assert not ignored


def test_what_holds_itself_is_refused() -> None:
    cyclic: dict[str, object] = {}
    cyclic["self"] = cyclic
    model = ad.Sequential([ad.layers.Dense(1)])
    model.compile("sgd", "mse")
    for call in (ad.layers.ReLU(), model, model.predict, lambda x: model.fit(x, x, verbose=0)):
        with pytest.raises(ValueError, match="does one hold itself"):
            call(cyclic)  # type: ignore[operator]


def test_a_failed_call_leaves_its_layer_as_it_was() -> None:
    layer = ad.layers.Layer()
    with pytest.raises(ValueError, match="regularizer"):
        layer.add_weight((2,), regularizer="nonsense")
    assert layer.variables == []
    layer.trainable = [0, 0]  # type: ignore[assignment]
    assert layer.trainable and layer.variables == []


def test_an_axis_is_checked_and_not_changed() -> None:
    axis = np.array([5.0])
    for wrong, error in ((axis, TypeError), (7, IndexError)):
        with pytest.raises(error, match="sparse_categorical_crossentropy: axis"):
            ad.losses.sparse_categorical_crossentropy([0], [[0.5, 0.5]], axis=wrong)
    assert axis.tolist() == [5.0]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ad.layers.serialize("zeros"), TypeError, "this str as layer"),
        (lambda: ad.layers.deserialize({}), ValueError, "needs the keys 'class_name'"),
        (lambda: ad.layers.deserialize(3), TypeError, "Received: int"),
        (lambda: ad.optimizers.serialize(3), TypeError, "this int as optimizer"),
        (lambda: ad.optimizers.deserialize({"class_name": "SGD"}), ValueError, "and 'config'"),
        (lambda: ad.optimizers.schedules.serialize(3), TypeError, "as learning rate schedule"),
        (lambda: ad.optimizers.Adam().build([ad.zeros(2)]), TypeError, "updates Variables"),
        (lambda: ad.optimizers.Adam().apply([1.0], [1.0]), TypeError, "updates Variables"),
        (lambda: ad.losses.LossFunctionWrapper.from_config({}), TypeError, "needs a function"),
        (lambda: ad.metrics.MeanMetricWrapper.from_config({}), TypeError, "needs a function"),
    ],
)
def test_wrong_kinds_are_named(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()  # type: ignore[operator]
