"""Every row of the table of ops: gradients, second derivatives, slopes at kinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import away_from_kinks, function_of_bases, many, rows, same_bits, takes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opreport import FIGURES
from opspecs import SPECS, Spec
from opspecs.spec import FLOATS
from strategies import Case, cases

import autodan as ad
from autodan import _core
from autodan.testing import assert_close, check_gradients, float32_tolerance

DIFFERENTIABLE = [spec for spec in SPECS if spec.gradients]
few = settings(max_examples=max(settings().max_examples // 2, 1))


@rows(DIFFERENTIABLE)
def test_gradients(spec):
    # Operands that overlap may be equal, which is a kink of what compares them.
    shared = spec.alike is not None and not (spec.kinks or spec.distinct or spec.away)
    overlapping = st.sampled_from((False, False, True)) if shared else st.just(False)

    @given(
        case=overlapping.flatmap(
            lambda overlap: cases(spec, smooth=True, overlap=overlap, max_size=300)
        )
    )
    def check(case):
        assume(away_from_kinks(spec, case))
        function, bases = function_of_bases(spec, case)
        FIGURES[spec.name].note("gradient", check_gradients(function, *bases), case)

    check()


@rows([spec for spec in DIFFERENTIABLE if spec.second])
def test_second_derivatives(spec):
    @few
    @given(case=cases(spec, smooth=True, max_size=60))
    def check(case):
        assume(away_from_kinks(spec, case))
        function, bases = function_of_bases(spec, case)
        FIGURES[spec.name].note("gradient", check_gradients(function, *bases, order=2), case)

    check()


@rows([spec for spec in DIFFERENTIABLE if not spec.second])
def test_missing_second_derivatives_are_a_clear_error(spec):
    @few
    @given(case=cases(spec, smooth=True, strided=False, max_size=60))
    def check(case):
        x = ad.tensor(case.bases[0], requires_grad=True)
        operands = [x, *case.tensors("float64")[1:]]
        output = many(spec.op(*operands, **case.kwargs))[0]
        first = _core.grad(output, [x], ad.ones_like(output), False, True)[0]
        if first.requires_grad:
            with pytest.raises(RuntimeError, match="derivative"):
                _core.grad(first, [x], ad.ones_like(first))

    check()


@rows([spec for spec in SPECS if not spec.gradients])
def test_what_has_no_gradient_asks_for_none(spec):
    @few
    @given(case=cases(spec, strided=False))
    def check(case):
        if not all(takes(spec, dtype) for dtype in FLOATS) or spec.name == "cast":
            return
        leaves = [ad.tensor(x, requires_grad=True) for x in case.bases]
        assert not any(y.requires_grad for y in many(spec.op(*leaves, **case.kwargs)))

    check()


# -- float32 -------------------------------------------------------------------------------------


def on_tape(spec: Spec, case: Case, dtype: str) -> tuple[list[ad.Tensor], list[ad.Tensor]]:
    """Return leaves with the values of float32, and the outputs that can be differentiated."""
    function, bases = function_of_bases(spec, case, dtype)
    leaves = [ad.tensor(x.astype("float32").astype(dtype), requires_grad=True) for x in bases]
    return leaves, [y for y in many(function(*leaves)) if y.requires_grad]


def flat(parts: Any, leaves: list[ad.Tensor]) -> np.ndarray:
    """Return gradients as one vector of doubles, zeros where there are none."""
    whole = [
        np.zeros(x.shape) if g is None else g.numpy() for g, x in zip(parts, leaves, strict=True)
    ]
    return np.concatenate([np.ravel(x).astype("float64") for x in whole])


@rows(DIFFERENTIABLE)
def test_float32_gradients_are_within_a_bound_of_those_in_float64(spec):
    @few
    @given(case=cases(spec, smooth=True, strided=False, max_size=60))
    def check(case):
        assume(away_from_kinks(spec, case))
        leaves, outputs = on_tape(spec, case, "float64")
        assume(outputs and sum(y.size for y in outputs) <= 200)
        sizes = [y.size for y in outputs]
        weights = np.random.default_rng(0).normal(size=sum(sizes)).astype("float32")
        cuts = np.cumsum(sizes)[:-1]

        def pull_back(v: np.ndarray, outputs: Any, leaves: Any) -> np.ndarray:
            parts = [
                ad.tensor(part.reshape(y.shape).astype(y.dtype))
                for part, y in zip(np.split(v, cuts), outputs, strict=True)
            ]
            return flat(_core.grad(outputs, leaves, parts, True), leaves)

        wide = weights.astype("float64")
        rows_ = [pull_back(row, outputs, leaves) for row in np.diag(wide)]
        size = np.sum(np.abs(rows_), axis=0) if rows_ else 0.0
        terms = np.count_nonzero(rows_, axis=0) + spec.slope_terms
        expected = pull_back(wide, outputs, leaves)
        leaves, outputs = on_tape(spec, case, "float32")
        allowed = float32_tolerance(terms * size + slope_noise(spec, case, wide))
        share = assert_close(pull_back(weights, outputs, leaves), expected, 0.0, allowed)
        FIGURES[spec.name].note("slope", share, case)

    check()


def slope_noise(spec: Spec, case: Case, weights: np.ndarray) -> Any:
    """Return the size of the intermediate results of a gradient that cancel."""
    if spec.slope_noise is None:
        return 0.0
    size = spec.slope_noise(*case.arrays("float64"), **case.kwargs)
    return size * np.max(np.abs(weights), initial=0.0)


@rows(DIFFERENTIABLE)
def test_gradients_repeat_bit_for_bit_and_add_up(spec):
    @few
    @given(case=cases(spec, smooth=True, strided=False))
    def check(case):
        def run(dtype: str = "float32", times: int = 1, retain: bool = False) -> Any:
            leaves = [ad.tensor(x, dtype=dtype, requires_grad=True) for x in case.bases]
            outputs = [many(spec.op(*leaves, **case.kwargs))[0] for _ in range(times)]
            outputs = [y for y in outputs if y.requires_grad]
            weights = [ad.ones_like(y) for y in outputs]
            found = [_core.grad(outputs, leaves, weights, retain)]
            if retain:
                found.append(_core.grad(outputs, leaves, weights))
            for g, x in zip(found[0], leaves, strict=True):
                assert g is None or (g.dtype, g.shape) == (dtype, x.shape)
            return [[g for g in grads if g is not None] for grads in found]

        (once,) = run()
        assert all(same_bits(once, grads) for grads in run(retain=True))
        (single,), (double,) = run("float64"), run("float64", times=2)
        for one, both in zip(single, double, strict=True):
            size = 1 + np.max(np.abs(one.numpy()), initial=0.0)
            assert_close(both, one.numpy() * 2, 0.0, 1e-12 * size)

    check()


# -- kinks ---------------------------------------------------------------------------------------


def check_slope(op: Any, kink: float, slope: float) -> None:
    """Assert that the gradient at a kink is `slope`, and that it lies between the one-sided ones.

    Where the function jumps there are none, and any slope is as good.
    """
    step = 1e-6
    left, there, right = (float(op(ad.tensor(kink + h, dtype="float64"))) for h in (-step, 0, step))
    sides = sorted(((there - left) / step, (right - there) / step))
    if abs(sides[0]) < 1e3 and abs(sides[1]) < 1e3:
        assert sides[0] - 1e-4 <= slope <= sides[1] + 1e-4, "no subgradient"
    for dtype in FLOATS:
        x = ad.tensor([kink], dtype=dtype, requires_grad=True)
        op(x).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), [slope], rtol=1e-6)


@rows([spec for spec in DIFFERENTIABLE if spec.kinks and spec.alike is None])
def test_slopes_at_kinks(spec):
    assert set(spec.slopes) == set(spec.kinks)

    @few
    @given(call=spec.calls)
    def check(call):
        for kink, slope in spec.slopes.items():
            at = slope(**call.kwargs) if callable(slope) else slope
            check_slope(lambda x: spec.op(x, **call.kwargs), kink, at)

    check()


def test_a_wrong_slope_at_a_kink_is_found():
    def planted(x):
        return ad.maximum(x, 0.0)

    check_slope(ad.relu, 0.0, 0.0)
    with pytest.raises(AssertionError, match="Mismatch"):
        check_slope(planted, 0.0, 0.0)
    with pytest.raises(AssertionError, match="no subgradient"):
        check_slope(ad.relu, 0.0, 2.0)


def test_gradients_of_equal_elements_go_to_the_first():
    for name in ("max", "min"):
        x = ad.tensor([[1.0, 1.0], [1.0, 1.0]], requires_grad=True)
        getattr(ad, name)(x, axis=1).sum().backward()
        assert x.grad.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    for name in ("maximum", "minimum"):
        a, b = (ad.tensor([2.0], requires_grad=True) for _ in range(2))
        getattr(ad, name)(a, b).sum().backward()
        assert (a.grad.tolist(), b.grad.tolist()) == ([1.0], [0.0])
    x = ad.tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    ad.max_pool(x, 2).sum().backward()
    assert x.grad.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_powers_at_zero_have_finite_gradients():
    a = ad.tensor([0.0, 0.0, 0.0], requires_grad=True)
    b = ad.tensor([0.0, 1.0, 2.0], requires_grad=True)
    ad.power(a, b).sum().backward()
    assert a.grad.tolist() == [0.0, 1.0, 0.0]
    assert b.grad.tolist() == [0.0, 0.0, 0.0]
