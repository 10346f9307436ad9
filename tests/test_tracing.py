"""Traces and programs by themselves: what may be traced, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

import autodan as ad
from autodan import _core
from autodan.tracing import trace


@pytest.fixture(autouse=True)
def no_trace_left() -> Iterator[None]:
    yield
    _core._trace_abort()
    assert not _core.is_tracing()


def traced(f, *shapes, dtype="float32"):
    _core._trace_begin()
    outputs = f(*[_core._trace_input(shape, dtype) for shape in shapes])
    return _core._trace_end(outputs if isinstance(outputs, list) else [outputs])


def run(graph, *arrays):
    tensors = [ad.tensor(array) for array in arrays]
    return [y.numpy() for y in graph.compile().run(tensors, [], [])]


def test_views_copies_and_constants():
    a, scale = np.arange(6, dtype="float32").reshape(2, 3), ad.tensor([1.0, 2.0])
    graph = traced(lambda x: [(x.T[1:] * scale).reshape(4), x.T.reshape(6), scale], (2, 3))
    y, flat, constant = run(graph, a)
    np.testing.assert_array_equal(y, (a.T[1:] * [1, 2]).reshape(4))
    np.testing.assert_array_equal(flat, a.T.reshape(6))
    np.testing.assert_array_equal(constant, [1, 2])


def test_strided_inputs_are_what_they_show():
    graph = traced(lambda x: x + x, (3, 2))
    base = ad.tensor(np.arange(6, dtype="float32").reshape(2, 3))
    (y,) = graph.compile().run([base.T], [], [])
    np.testing.assert_array_equal(y.numpy(), base.numpy().T * 2)


def test_inputs_of_other_shapes_are_refused():
    program = traced(lambda x: x + 1, (2,)).compile()
    for bad in (ad.ones(3), ad.ones(2, dtype="float64"), ad.ones((2, 1))):
        with pytest.raises(ValueError, match="input 0 is not the one traced"):
            program.run([bad], [], [])
    with pytest.raises(ValueError, match="input 0"):
        program.run([], [], [])


def test_gradients_are_traced_and_the_tape_is_used():
    w = ad.Variable([2.0, 3.0])

    def step(x):
        loss = ad.ops.sum(ad.ops.square(w * x))
        return [loss, *_core.grad(loss, [w])]

    loss, gradient = run(traced(step, (2,)), np.array([1, 2], "float32"))
    assert loss == 40
    np.testing.assert_array_equal(gradient, [4, 24])
    assert w.grad is None and w.tolist() == [2, 3]


def test_a_variable_is_assigned_in_the_end():
    total = ad.Variable([0.0, 0.0], trainable=False)

    def step(x):
        total.assign_add(x)
        before = total * 1.0
        total.assign_add(x)
        return before

    graph = traced(step, (2,))
    assert total.tolist() == [0, 0]
    program = graph.compile()
    for i in (1, 2):
        (before,) = program.run([ad.ones(2)], [], [])
        assert before.tolist() == [2 * i - 1] * 2 and total.tolist() == [2 * i] * 2


def test_an_update_needs_its_rate_and_writes_nothing_without():
    w, n = ad.Variable([1.0]), ad.Variable(0, trainable=False, dtype="int64")
    _core._trace_begin()
    _core._trace_update("sgd", (0.0, 0.0), [w], [], [w * 2.0], n)
    program = _core._trace_end([]).compile()
    with pytest.raises(ad.InternalError, match="rate"):
        program.run([], [], [])
    assert (w.tolist(), int(n)) == ([1.0], 0)
    program.run([], [0.25], [])
    assert (w.tolist(), int(n)) == ([0.5], 1)
    with pytest.raises(ValueError, match="no rule 'sgd'"):
        _core._trace_update("sgd", (0.0,), [w], [], [w], n)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: [x, ad.tensor(float(x[0]))], "a value of it was read"),
        (lambda x: [ad.tensor(x.numpy())], "a value of it was read"),
        (lambda x: [x if x[0] > 0 else -x], "a value of it was read"),
        (lambda x: [ad.Variable(x)], "it creates a variable"),
        (lambda x: _core._trace_begin(), "it trains or evaluates a model itself"),
    ],
)
def test_what_cannot_be_traced_is_refused(f, reason):
    with pytest.raises(ad.TraceError, match=reason):
        traced(f, (2,))
    assert _core.is_tracing() and reason in _core._trace_refused()


def test_a_refusal_that_is_swallowed_counts():
    def step(x):
        with contextlib.suppress(ad.TraceError):
            float(x[0])
        return x

    with pytest.raises(ad.TraceError, match="a value of it was read"):
        traced(step, (2,))
    assert not _core.is_tracing()


def test_variables_have_no_value_after_an_update():
    w = ad.Variable([1.0])
    _core._trace_begin()
    _core._trace_updated([w])
    for use in (lambda: w * 2, lambda: w.assign([1.0]), lambda: _core._trace_updated([w])):
        with pytest.raises(ad.TraceError):
            use()


def test_tensors_of_an_earlier_trace_are_refused():
    _core._trace_begin()
    x = _core._trace_input((2,), "float32")
    _core._trace_end([x])
    with pytest.raises(ad.TraceError, match="after the trace"):
        x + 1
    with pytest.raises(ad.TraceError, match="read"):
        x.numpy()
    _core._trace_begin()
    with pytest.raises(ad.TraceError, match="an earlier step"):
        x + 1


def test_what_changes_from_trace_to_trace_is_named():
    first = traced(lambda x: x * 2, (2,))
    assert first.difference(traced(lambda x: x * 2, (2,))) is None
    assert "number" in first.difference(traced(lambda x: x * 3, (2,)))
    assert "multiply, then add" in first.difference(traced(lambda x: x + 2, (2,)))
    assert "1 ops, then 2" in first.difference(traced(lambda x: x * 2 + 1, (2,)))
    powers = [traced(lambda x, p=p: ad.ops.elu(x, p), (2,)) for p in (1.0, 2.0)]
    assert powers[0].difference(powers[1])


@pytest.mark.parametrize("drawn", [(), (0,), (1,), (2,), (0, 2)])
def test_streams_advance_by_what_is_drawn_from_them(drawn):
    streams = [ad.random.SeedGenerator(seed) for seed in (5, 6, 7)]

    def step(x):
        return [x, *(ad.random.uniform((2,), seed=streams[i]) for i in drawn)]

    compiled = trace(step, ad.ones(2), streams, lambda: 0)
    before = ad.random.global_stream().counter
    for count in (1, 2):
        values = compiled([ad.ones(2)])[1:]
        assert [stream.counter for stream in streams] == [count * (i in drawn) for i in range(3)]
        for place, value in zip(drawn, values, strict=True):
            expected = _core.random_uniform((2,), 0.0, 1.0, "float32", place + 5, count - 1)
            np.testing.assert_array_equal(value.numpy(), expected.numpy())
    assert ad.random.global_stream().counter == before


def test_streams_are_told_apart():
    starts = [_core._stream_start(i, second) for i in (0, 1) for second in (False, True)]
    assert len(set(starts)) == 4
    with pytest.raises(ValueError, match="stream="):
        _core._stream_start(2**63, False)
    w, before = ad.Variable([1.0]), _core.trainable_changes()
    w.trainable = True
    assert _core.trainable_changes() == before
    w.trainable = False
    assert _core.trainable_changes() == before + 1
