"""The tape: accumulation, modes, tapes, functions, higher orders, freed graphs, long chains."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import autodan as ad
from autodan import _core, ops
from autodan.testing import check_gradients


def leaf(*values):
    return ad.tensor(list(values), requires_grad=True)


# -- backward ------------------------------------------------------------------------------------


def test_gradients_accumulate_until_cleared():
    x = leaf(1.0, 2.0)
    for times in (1, 2):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0 * times, 4.0 * times]
    x.grad = None
    assert x.grad is None
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_gradient_can_be_set_and_is_checked():
    x = leaf(1.0, 2.0)
    x.grad = [3, 4]
    assert (x.grad.tolist(), x.grad.dtype) == ([3.0, 4.0], "float32")
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\) does not fit .*\(2,\)"):
        x.grad = [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="only a leaf"):
        (x * 2).grad = [1.0, 1.0]


def test_backward_with_a_gradient():
    x = leaf(1.0, 2.0)
    (x * 3).backward([1.0, 10.0])
    assert x.grad.tolist() == [3.0, 30.0]


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda: (leaf(1.0, 2.0) * 2).backward(), ValueError, r"\(2,\); only a scalar.*sum\(\)"),
        (lambda: (leaf(1.0, 2.0) * 2).backward([1.0]), ValueError, r"\(1,\) but .*\(2,\)"),
        (lambda: ad.ones((1,)).backward(), RuntimeError, "does not depend on any tensor that req"),
        (lambda: _core.grad(leaf(1.0), [ad.ones((1,))]), RuntimeError, "input 0 does not require"),
        (lambda: _core.grad([leaf(1.0)], [leaf(1.0)], [None, None]), ValueError, "1 outputs but 2"),
        (lambda: ad.tensor([1], requires_grad=True), (TypeError, RuntimeError), "int64"),
        (lambda: setattr(leaf(1.0) * 2, "requires_grad", False), ValueError, "leaves; use detach"),
    ],
)
def test_wrong_calls(call, exception, message):
    with pytest.raises(exception, match=message):
        call()


def test_a_tensor_used_many_times():
    x = leaf(3.0)
    y = x * x + x * 2 + x
    y.sum().backward()
    assert x.grad.tolist() == [9.0]


def test_gradients_take_the_shape_and_dtype_of_their_tensor():
    x = ad.tensor(np.ones((3, 1)), requires_grad=True)
    y = ad.tensor(np.ones(4, "float32"), requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.shape, x.grad.dtype) == ((3, 1), "float64")
    assert (y.grad.shape, y.grad.dtype) == ((4,), "float32")
    assert x.grad.tolist() == [[4.0]] * 3


def test_integers_stop_gradients():
    x = leaf(1.5)
    assert not x.astype("int64").requires_grad
    assert not (x > 1).requires_grad
    assert not ad.argmax(x).requires_grad


def test_variables_are_leaves():
    v, frozen = ad.Variable([1.0, 2.0]), ad.Variable([3.0], trainable=False)
    (v * frozen).sum().backward()
    assert v.grad.tolist() == [3.0, 3.0]
    assert frozen.grad is None
    v.assign([5.0, 6.0])
    (v * v).sum().backward()
    assert v.grad.tolist() == [13.0, 15.0]
    v.trainable = False
    assert not (v * 2).requires_grad


def test_an_assigned_variable_does_not_change_an_earlier_graph():
    v = ad.Variable([2.0])
    y = v * v
    v.assign([100.0])
    y.sum().backward()
    assert v.grad.tolist() == [4.0]


# -- modes ---------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest_and_restore():
    x = leaf(1.0)
    assert _core.is_grad_enabled()
    with ad.no_grad():
        assert not (x * 2).requires_grad
        with ad.enable_grad():
            assert (x * 2).requires_grad
        assert not _core.is_grad_enabled()
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), ad.no_grad():
        raise ZeroDivisionError
    assert _core.is_grad_enabled()
    assert _core.set_grad_enabled(False) is True
    assert _core.set_grad_enabled(True) is False


def test_no_grad_decorates():
    @ad.no_grad()
    def double(x):
        return x * 2

    x = leaf(1.0)
    assert not double(x).requires_grad
    assert _core.is_grad_enabled()


def test_the_mode_belongs_to_its_thread():
    seen = []
    with ad.no_grad():
        thread = threading.Thread(target=lambda: seen.append(_core.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_and_stop_gradient_cut_the_graph():
    x = leaf(2.0)
    (x * x.detach() + ops.stop_gradient(x)).sum().backward()
    assert x.grad.tolist() == [2.0]


# -- tapes and functions -------------------------------------------------------------------------


def test_gradient_tape_watches_variables_and_what_it_is_told():
    v, x = ad.Variable(3.0), ad.tensor(2.0)
    with ad.GradientTape() as tape:
        tape.watch(x)
        y = v * v * x
    gradients = tape.gradient(y, {"v": v, "x": [x]})
    assert float(gradients["v"]) == 12.0
    assert float(gradients["x"][0]) == 9.0
    assert v.grad is None
    with pytest.raises(RuntimeError, match="persistent=True"):
        tape.gradient(y, v)


def test_a_persistent_tape_gives_several_gradients():
    v = ad.Variable(3.0)
    with ad.GradientTape(persistent=True) as tape:
        y = v * v
        z = y * v
    assert float(tape.gradient(y, v)) == 6.0
    assert float(tape.gradient(z, v)) == 27.0
    assert float(tape.gradient(z, v)) == 27.0


def test_nested_tapes_give_second_derivatives():
    v = ad.Variable(2.0)
    with ad.GradientTape() as outer:
        with ad.GradientTape() as inner:
            y = v * v * v
        first = inner.gradient(y, v)
    assert float(first) == 12.0
    assert float(outer.gradient(first, v)) == 12.0


def test_unconnected_gradients():
    v, w = ad.Variable([1.0]), ad.Variable([2.0, 3.0])
    for choice, expected in (("none", None), ("zero", [0.0, 0.0])):
        with ad.GradientTape() as tape:
            y = v * v
        found = tape.gradient(y, w, unconnected_gradients=choice)
        assert (found if found is None else found.tolist()) == expected
    with pytest.raises(ValueError, match="'none' or 'zero'"):
        tape.gradient(y, w, unconnected_gradients="ones")


def test_intermediate_results_are_sources_too():
    v = ad.Variable(2.0)
    with ad.GradientTape() as tape:
        y = v * v
        z = y * y
    assert float(tape.gradient(z, y)) == 8.0


def test_grad_and_value_and_grad():
    value, gradient = ad.value_and_grad(lambda x, y: (x * y).sum(), argnums=1)(
        [1.0, 2.0], [3.0, 4.0]
    )
    assert (float(value), gradient.tolist()) == (11.0, [1.0, 2.0])
    both = ad.grad(lambda x, y: (x * x * y).sum(), argnums=(0, 1))(
        ad.tensor([3.0]), ad.tensor([2.0])
    )
    assert [g.tolist() for g in both] == [[12.0], [9.0]]
    assert float(ad.grad(ad.grad(ad.grad(lambda x: x**4)))(2.0)) == 48.0


def test_grad_of_several_outputs_is_that_of_their_sum():
    x = leaf(2.0)
    (found,) = _core.grad([x * 2, x * x], [x], [ad.tensor([1.0]), ad.tensor([10.0])])
    assert found.tolist() == [42.0]
    assert x.grad is None
    assert _core.grad([x * 2], [x, leaf(1.0)])[1] is None


# -- graphs --------------------------------------------------------------------------------------


def test_a_graph_is_freed_by_backward_unless_retained():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(
        RuntimeError, match="graph was freed by an earlier backward; pass retain_graph"
    ):
        y.backward()
    assert x.grad.tolist() == [8.0]


def test_a_failed_backward_changes_nothing():
    x = ad.tensor(np.arange(4.0).reshape(1, 2, 2, 1), requires_grad=True)
    other = leaf(1.0)
    (first,) = _core.grad(_core.max_pool2d(x * x, 2).sum(), [x], None, False, True)
    with pytest.raises(RuntimeError, match="max_pool2d: second derivatives are not available"):
        (first.sum() + other.sum()).backward()
    assert x.grad is None and other.grad is None


def test_create_graph():
    x = leaf(3.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    assert first.tolist() == [27.0]
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [18.0]


def test_higher_orders_of_compositions():
    check_gradients(
        lambda x, w: ad.tanh(x @ w).sum(axis=0), np.eye(3, 4), np.ones((4, 2)) / 3, order=2
    )
    check_gradients(lambda x: ad.softmax(x) * ad.log_softmax(x), [[0.1, 0.5, -0.3]], order=2)
    check_gradients(lambda x, w: (x @ w) ** 3, np.eye(2, 3), np.ones((3, 2)) / 3, order=3)


def test_third_derivatives_of_elementary_functions_are_a_clear_error():
    x = leaf(0.5)
    (first,) = _core.grad(ad.tanh(x), [x], None, False, True)
    (second,) = _core.grad(first, [x], None, False, True)
    with pytest.raises(RuntimeError, match="tanh: third derivatives are not available"):
        _core.grad(second, [x])


def test_a_million_operations_on_a_small_stack():
    result = []

    def run():
        x = leaf(1.0)
        y = x
        for _ in range(1_000_000):
            y = y + 1.0
        y.sum().backward()
        del y
        result.append(x.grad.tolist())

    previous = threading.stack_size(2 << 20)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(previous)
    assert result == [[1.0]]


def test_a_diamond_takes_linear_time():
    x = leaf(1.0)
    y = x
    for _ in range(100):
        y = (y + y) * 0.5
    y.sum().backward()
    assert x.grad.tolist() == [1.0]


def test_graphs_are_freed():
    x = ad.tensor(np.ones(100_000, "float32"), requires_grad=True)

    def step():
        (ad.exp(x) * x).sum().backward()
        x.grad = None

    step()
    gc.collect()
    before = _core.memory_info()["tensors"]
    for _ in range(10):
        step()
    gc.collect()
    assert _core.memory_info()["tensors"] <= before + 4096


def test_logits_do_not_keep_a_cycle_alive():
    gc.collect()
    before = _core.memory_info()["tensors"]
    for _ in range(5):
        x = ad.ones((100_000,))
        x._logits = x
        del x
    gc.collect()
    assert _core.memory_info()["tensors"] <= before + 4096


def test_two_threads_differentiate_at_once():
    shared = ad.tensor(np.linspace(0, 1, 1000), requires_grad=True)
    found = []

    def work(factor):
        for _ in range(50):
            (gradient,) = _core.grad((ad.sin(shared) * factor).sum(), [shared])
        found.append((factor, gradient.numpy()))

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (1.0, 2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for factor, gradient in found:
        np.testing.assert_allclose(gradient, factor * np.cos(np.linspace(0, 1, 1000)), rtol=1e-12)


# -- check_gradients itself ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 100])
def test_check_gradients_finds_wrong_gradients(size):
    x = np.linspace(0.5, 1.5, size)
    check_gradients(lambda t: t * t * t, x, order=2)
    with pytest.raises(AssertionError, match="gradient of order 1"):
        check_gradients(lambda t: t * t.detach() * t, x)
    with pytest.raises(AssertionError, match="gradient of order 2"):
        check_gradients(half_wrong, x, order=2)


def half_wrong(t):
    """Return t cubed, whose gradient, but not its gradient's, is right."""
    return t * (3 * t * t).detach() + (t**3 - t * 3 * t * t).detach()
