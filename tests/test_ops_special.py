"""Every row of the table of ops: NaN, infinities, zeros of both signs, subnormals, no elements."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from checks import many, reference, rows, takes, tolerances
from hypothesis import given, settings
from hypothesis import strategies as st
from opspecs import SPECS, Spec, binary, reduce, scan, unary
from opspecs.spec import FLOATS, INTEGERS
from strategies import cases

import autodan as ad
from autodan import _core
from autodan.testing import assert_close, special_values

few = settings(max_examples=max(settings().max_examples // 2, 1))
COMPARED = [spec for spec in SPECS if spec.special is True]
GRID = [spec for family in (unary, binary, reduce, scan) for spec in family.SPECS]


@rows([spec for spec in SPECS if spec.special is not True])
def test_what_is_not_compared_says_why(spec):
    assert isinstance(spec.special, str) and len(spec.special) > 20


def all_special(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [0.0, 1.0, 0.5, 2.5, 3.0, np.inf, info.max, info.tiny, info.smallest_subnormal * 3]
    return np.array([*positive, *(-x for x in positive), np.nan], dtype)


def without_subnormals(spec: Spec, x: np.ndarray) -> np.ndarray:
    """Return which values count: float32 arithmetic takes subnormal numbers for zero."""
    tiny = 0.0 if spec.subnormals or x.dtype != "float32" else np.finfo("float32").tiny
    return (x == 0) | ~(np.abs(x) < tiny)


def check_special(spec: Spec, arrays: list[np.ndarray], kwargs: dict[str, Any], dtype: str) -> None:
    """Assert that NaN, infinities, signs of zeros and the rest are those of the reference."""
    actual = many(spec.op(*[ad.tensor(x) for x in arrays], **kwargs))
    doubles = [x.astype("float64") for x in arrays]
    wides, owns = reference(spec, doubles, kwargs), reference(spec, arrays, kwargs)
    bounds = tolerances(spec, wides, doubles, kwargs, dtype)
    for y, wide, own, atol in zip(actual, wides, owns, bounds, strict=True):
        got = y.numpy()
        if not np.issubdtype(got.dtype, np.floating):
            np.testing.assert_array_equal(got, own)
            continue
        # The magnitude of an intermediate result must not leave the range of the dtype alone.
        overflows = np.isfinite(wide) & ~np.isfinite(own)
        np.testing.assert_array_equal(np.isnan(got)[~overflows], np.isnan(own)[~overflows])
        settled = ~np.isnan(own) & ~overflows & ~np.isnan(got)
        want = np.where(np.isinf(own), own, np.clip(wide, *np.finfo(dtype).max * np.array([-1, 1])))
        allowed = np.broadcast_to(atol, want.shape) + np.finfo(dtype).tiny
        if spec.bound is None:
            want, allowed = want.astype(dtype), np.zeros(want.shape)
        assert_close(got[settled], want[settled], 0.0, allowed[settled])
        if spec.zero_sign:
            zero = settled & (own == 0) & (got == 0)
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(own[zero]))


@pytest.mark.parametrize("dtype", FLOATS)
@rows([spec for spec in GRID if spec.special is True])
def test_all_pairs_of_special_values(spec, dtype):
    @few
    @given(call=spec.calls)
    def check(call):
        values = all_special(dtype)
        values = values[without_subnormals(spec, values)]
        if "axis" in call.kwargs:
            triples = np.array(list(itertools.product(values, values, values[:11])))
            check_special(spec, [triples], {"axis": 1}, dtype)
        else:
            grids = np.meshgrid(*[values] * len(call.shapes), indexing="ij")
            check_special(spec, [grid.ravel() for grid in grids], call.kwargs, dtype)

    check()


@rows(COMPARED)
def test_special_values_at_random_places(spec):
    # The largest numbers stay out: what overflows on the way depends on the order of a sum.
    values = all_special("float32")
    values = values[without_subnormals(spec, values) & (np.abs(values) != np.finfo("float32").max)]

    @given(
        case=cases(spec, strided=False, max_size=300),
        dtype=st.sampled_from([dtype for dtype in FLOATS if takes(spec, dtype)]),
        data=st.data(),
    )
    def check(case, dtype, data):
        arrays = [data.draw(special_values(x, values.tolist())) for x in case.arrays(dtype)]
        check_special(spec, arrays, case.kwargs, dtype)

    check()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "logsumexp"])
def test_a_nan_anywhere_in_a_row_reaches_the_result(name, dtype):
    op = getattr(_core, name)
    for n in (*range(1, 41), 63, 64, 65, 127, 128, 129):
        x = np.ones((n, n), dtype)
        np.fill_diagonal(x, np.nan)
        for axis, matrix in ((1, x), (0, x), (1, x.T.copy().T)):
            assert np.isnan(op(ad.tensor(matrix), axis=axis).numpy()).all(), (n, axis)
        assert not np.isnan(op(ad.ones((n, n), dtype), axis=1).numpy()).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_the_first_nan_is_the_extremum(name, dtype):
    op = getattr(_core, name)
    for n in (*range(1, 41), 63, 64, 65, 127, 128, 129):
        x = np.random.default_rng(n).integers(0, 3, (n, n)).astype(dtype)
        np.fill_diagonal(x, np.nan)
        x[:, -1] = np.nan
        for matrix in (x, x.T.copy().T):
            assert op(ad.tensor(matrix), axis=1).tolist() == list(range(n))
            assert op(ad.tensor(matrix.T), axis=0).tolist() == list(range(n))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_maximum_of_nothing_but_nan_is_nan(dtype):
    x = ad.tensor(np.full((1, 4, 4, 3), np.nan, dtype), requires_grad=True)
    y = _core.max_pool2d(x, 2)
    assert np.isnan(y.detach().numpy()).all()
    y.backward(ad.ones_like(y))
    assert float(x.grad.sum()) == y.size


@pytest.mark.parametrize("op", [ad.softmax, ad.log_softmax], ids=["softmax", "log_softmax"])
def test_softmax_of_infinities(op):
    inf = np.inf
    x = np.array([[-inf, 0.0, 0.0], [1e30, 0.0, -1e30], [np.nan, 0.0, 1.0]], "float32")
    y = op(x).numpy()
    log = op is ad.log_softmax
    half = math.log(0.5) if log else 0.5
    np.testing.assert_allclose(y[0], [-inf if log else 0.0, half, half], rtol=1e-6)
    np.testing.assert_allclose(y[1], [0.0, -1e30, -2e30] if log else [1.0, 0.0, 0.0], rtol=1e-6)
    assert np.isnan(y[2]).all()
    assert np.isnan(op(np.array([[inf, 0.0]], "float32")).numpy()).any()


def test_integer_division_by_zero_gives_zero():
    for dtype in INTEGERS:
        x = np.array([-7, 7, 0]).astype(dtype)
        assert ad.floor_divide(ad.tensor(x), 0).tolist() == [0, 0, 0]
        assert ad.mod(ad.tensor(x), 0).tolist() == [0, 0, 0]


def test_integers_wrap_around():
    least = np.iinfo("int64").min
    assert ad.floor_divide(ad.tensor(np.array([least])), -1).tolist() == [least]
    assert ad.abs(ad.tensor(np.array([least]))).tolist() == [least]
    assert ad.add(
        ad.tensor(np.array([255], "uint8")), ad.tensor(np.array([1], "uint8"))
    ).tolist() == [0]
    assert ad.power(ad.tensor([2, -1, 3]), ad.tensor([-1, -3, 0])).tolist() == [0, -1, 1]


def test_no_elements():
    assert float(ad.sum(ad.zeros((0,)))) == 0.0
    assert float(ad.prod(ad.zeros((0,)))) == 1.0
    assert np.isnan(float(ad.mean(ad.zeros((0,)))))
    assert ad.sum(ad.zeros((2, 0)), axis=1).tolist() == [0.0, 0.0]
    assert ad.max(ad.zeros((0, 2)), axis=1).shape == (0,)
    assert ad.matmul(ad.zeros((2, 0)), ad.zeros((0, 3))).tolist() == [[0.0] * 3] * 2
    kernel = ad.tensor(np.zeros((2, 2, 1, 3)), requires_grad=True)
    _core.conv2d(ad.zeros((0, 4, 4, 1), "float64"), kernel).sum().backward()
    assert kernel.grad.numpy().any() == False  # noqa: E712 - NaN is neither


def test_a_bool_has_no_arithmetic():
    with pytest.raises(TypeError, match="add: bool operands have no arithmetic; use logical_and"):
        ad.add(ad.tensor([True]), ad.tensor([False]))
