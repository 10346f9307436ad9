"""Every row of the table of ops: values, layouts, gradients, dtypes, special values, errors."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opspecs import ALIASES, ELSEWHERE, SPECS, Spec
from opspecs.spec import FLOATS, INTEGERS
from strategies import Case, cases

import autodan as ad
from autodan import _core, ops
from autodan.testing import arrays, assert_close, check_gradients, float32_tolerance, shapes

DIFFERENTIABLE = [spec for spec in SPECS if spec.gradients]
EXAMPLES = settings().max_examples
few = settings(max_examples=max(EXAMPLES // 2, 1))


def rows(specs: Any = SPECS) -> Any:
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.name)


def many(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def reference(spec: Spec, arrays: list[np.ndarray], kwargs: dict[str, Any]) -> list[np.ndarray]:
    """Return NumPy's results; what it warns of is what special values are for."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return [np.asarray(y) for y in many(spec.reference(*arrays, **kwargs))]


def tolerances(spec: Spec, expected: Any, arrays: Any, kwargs: Any, dtype: str) -> list[Any]:
    if spec.bound is None:
        return [0.0] * len(expected)
    single = expected[0] if len(expected) == 1 else expected
    with np.errstate(all="ignore"):
        bounds = many(spec.bound(single, *arrays, **kwargs))
        if dtype == "float32":
            return [np.nan_to_num(float32_tolerance(b)) for b in bounds]
        # NumPy's functions of doubles have errors of their own.
        return [
            np.nan_to_num(float32_tolerance(b + 4 * np.abs(y))) * 2.0**-29
            for b, y in zip(bounds, expected, strict=True)
        ]


def check_values(spec: Spec, case: Case, dtype: str) -> None:
    tensors = case.tensors(dtype)
    arrays = [x.astype("float64") for x in case.arrays(dtype)]
    actual = many(spec.op(*tensors, **case.kwargs))
    expected = reference(spec, arrays, case.kwargs)
    assert len(actual) == len(expected)
    for y, want, atol in zip(
        actual, expected, tolerances(spec, expected, arrays, case.kwargs, dtype), strict=True
    ):
        if spec.bound is None and y.dtype in FLOATS:
            want = want.astype(y.dtype)
        assert_close(y, want, rtol=0.0, atol=atol)


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(many(a), many(b), strict=True)
    return all(x.shape == y.shape and x.numpy().tobytes() == y.numpy().tobytes() for x, y in pairs)


# -- completeness --------------------------------------------------------------------------------


def public_functions() -> set[str]:
    core = {
        name
        for name, value in vars(_core).items()
        if callable(value) and not isinstance(value, type) and not name.startswith("_")
    }
    return core | set(ops.__all__)


def test_every_public_function_has_a_row():
    covered = {spec.name for spec in SPECS} | set(ALIASES) | set(ELSEWHERE)
    assert sorted(public_functions() - covered) == []
    assert sorted(covered - public_functions()) == []


def test_rows_are_unique():
    names = [spec.name for spec in SPECS]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_no_row_is_tested_elsewhere(name):
    assert name in (Path(__file__).parent / ELSEWHERE[name]).read_text()


@pytest.mark.parametrize("name", ALIASES)
def test_aliases_are_the_same_function(name):
    assert getattr(ops, name) is getattr(ops, ALIASES[name])


# -- values --------------------------------------------------------------------------------------


@rows()
def test_values(spec):
    @given(case=cases(spec, wide=True))
    def check(case):
        for dtype in FLOATS:
            if not isinstance(spec.dtypes.get(dtype), type):
                check_values(spec, case, dtype)

    check()


@rows()
def test_a_view_gives_the_same_bits_as_a_copy(spec):
    @given(case=cases(spec, wide=True))
    def check(case):
        for dtype in FLOATS:
            if not isinstance(spec.dtypes.get(dtype), type):
                copies = [ad.tensor(x) for x in case.arrays(dtype)]
                viewed = spec.op(*case.tensors(dtype), **case.kwargs)
                assert same_bits(viewed, spec.op(*copies, **case.kwargs))

    check()


TWO_SIDED = ("add", "subtract", "multiply", "maximum", "minimum", "matmul", "outer", "vdot", "dot")


@rows([spec for spec in SPECS if spec.name in TWO_SIDED])
def test_one_tensor_on_both_sides(spec):
    square = shapes(max_dims=1).map(lambda s: s * 2 if spec.name in ("matmul", "dot") else s)

    @few
    @given(x=square.flatmap(arrays))
    def check(x):
        if spec.name == "matmul" and not x.ndim:
            return
        shared, *copies = (ad.tensor(x, requires_grad=True) for _ in range(3))
        result, expected = spec.op(shared, shared), spec.op(*copies)
        assert same_bits(result.detach(), expected.detach())
        (whole,) = gradients(spec, [shared, shared], {}, [shared])
        first, second = gradients(spec, copies, {}, copies)
        assert_close(whole, first + second, 1e-12, 1e-12)

    check()


def gradients(spec: Spec, operands: Any, kwargs: Any, leaves: Any) -> Any:
    output = many(spec.op(*operands, **kwargs))[0]
    return ad.GradientTape().gradient(output, leaves, [ad.ones_like(output)])


def magnitudes(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(x))


@rows()
def test_dtypes(spec):
    @few
    @given(data=st.data())
    def check(data):
        for dtype, result in spec.dtypes.items():
            case = data.draw(cases(spec, whole=True))
            if dtype in ("bool", "uint8"):
                case = Case(tuple(map(magnitudes, case.bases)), case.views, case.kwargs)
            if isinstance(result, type):
                with pytest.raises(result, match=r"\w+: "):
                    spec.op(*case.tensors(dtype), **case.kwargs)
                continue
            arrays = case.arrays(dtype)
            actual = many(spec.op(*case.tensors(dtype), **case.kwargs))
            if "dtype" in case.kwargs:
                result = case.kwargs["dtype"]
            elif not arrays:
                result = str(reference(spec, [], case.kwargs)[0].dtype)
            assert {y.dtype for y in actual} == {result}
            keeps = result in INTEGERS and dtype not in FLOATS
            operands = [x.astype(result if keeps else "float64") for x in arrays]
            expected = reference(spec, operands, case.kwargs)
            precision = "float64" if result == "float64" else "float32"
            allowed = tolerances(spec, expected, operands, case.kwargs, precision)
            for y, want, atol in zip(actual, expected, allowed, strict=True):
                assert_close(y, want.astype(result), 0.0, 0.0 if keeps else atol)

    check()


# -- gradients -----------------------------------------------------------------------------------


def function_of_bases(
    spec: Spec, case: Case, dtype: str = "float64"
) -> tuple[Any, list[np.ndarray]]:
    """Return the op as a function of the bases that it can be differentiated by."""
    constants = case.tensors(dtype)
    by = [i for i in range(len(case.bases)) if i in spec.gradients]

    def function(*leaves: ad.Tensor) -> ad.Tensor:
        operands = list(constants)
        for i, leaf in zip(by, leaves, strict=True):
            operands[i] = case.views[i](leaf)
        result = many(spec.op(*operands, **case.kwargs))
        return [y for y in result if y.requires_grad or not any(x.requires_grad for x in operands)]

    return function, [case.bases[i] for i in by]


@rows(DIFFERENTIABLE)
def test_gradients(spec):
    @given(case=cases(spec, smooth=True, max_size=300))
    def check(case):
        assume(spec.away is None or spec.away(*case.arrays("float64"), **case.kwargs))
        function, bases = function_of_bases(spec, case)
        check_gradients(function, *bases)

    check()


@rows([spec for spec in DIFFERENTIABLE if spec.second])
def test_second_derivatives(spec):
    @few
    @given(case=cases(spec, smooth=True, max_size=60))
    def check(case):
        assume(spec.away is None or spec.away(*case.arrays("float64"), **case.kwargs))
        function, bases = function_of_bases(spec, case)
        check_gradients(function, *bases, order=2)

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


@rows(DIFFERENTIABLE)
def test_gradients_repeat_bit_for_bit_and_keep_the_dtype(spec):
    @few
    @given(case=cases(spec, smooth=True, strided=False))
    def check(case):
        runs = []
        for _ in range(2):
            leaves = [ad.tensor(x, dtype="float32", requires_grad=True) for x in case.bases]
            found = gradients(spec, leaves, case.kwargs, leaves)
            runs.append([g for g in found if g is not None])
            assert all(
                g is None or (g.dtype, g.shape) == ("float32", x.shape)
                for g, x in zip(found, leaves, strict=True)
            )
        assert same_bits(*runs)

    check()


@rows([spec for spec in SPECS if not spec.gradients])
def test_what_has_no_gradient_asks_for_none(spec):
    @few
    @given(case=cases(spec, strided=False))
    def check(case):
        if any(isinstance(spec.dtypes.get(dtype), type) for dtype in FLOATS) or spec.name == "cast":
            return
        leaves = [ad.tensor(x, requires_grad=True) for x in case.bases]
        assert not any(y.requires_grad for y in many(spec.op(*leaves, **case.kwargs)))

    check()


# -- special values ------------------------------------------------------------------------------


def specials(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [0.0, 1.0, 0.5, 2.5, 3.0, np.inf, info.max, info.tiny, info.smallest_subnormal * 3]
    return np.array([*positive, *(-x for x in positive), np.nan], dtype)


ELEMENTWISE = [
    spec for spec in SPECS if spec.special and spec.name not in ("softmax", "log_softmax")
]


@pytest.mark.parametrize("dtype", FLOATS)
@rows(ELEMENTWISE)
def test_special_values(spec, dtype):
    @few
    @given(call=spec.calls)
    def check(call):
        values = specials(dtype)
        if dtype == "float32" and not spec.subnormals:
            values = values[(values == 0) | ~(np.abs(values) < np.finfo(dtype).tiny)]
        if "axis" in call.kwargs:
            pairs = np.array(list(itertools.product(values, values, values[:11])))
            arrays, kwargs = [pairs], {"axis": 1}
        else:
            count = len(call.shapes)
            grids = np.meshgrid(*[values] * count, indexing="ij")
            arrays, kwargs = [g.ravel() for g in grids], call.kwargs
        (y,) = many(spec.op(*[ad.tensor(x) for x in arrays], **kwargs))
        # The magnitude of an intermediate result must not leave the range of the dtype alone.
        (wide,) = reference(spec, [x.astype("float64") for x in arrays], kwargs)
        (own,) = reference(spec, arrays, kwargs)
        got = y.numpy()
        if not np.issubdtype(got.dtype, np.floating):
            np.testing.assert_array_equal(got, own)
            return
        (atol,) = tolerances(spec, [wide], [x.astype("float64") for x in arrays], kwargs, dtype)
        overflows = np.isfinite(wide) & ~np.isfinite(own)
        np.testing.assert_array_equal(np.isnan(got)[~overflows], np.isnan(own)[~overflows])
        settled = ~np.isnan(own) & ~overflows & ~np.isnan(got)
        want = np.where(np.isinf(own), own, np.clip(wide, *np.finfo(dtype).max * np.array([-1, 1])))
        at = [x[settled] for x in arrays] if arrays[0].ndim == 1 else [arrays[0][settled]]
        allowed = np.broadcast_to(atol, want.shape)[settled] + np.finfo(dtype).tiny
        try:
            assert_close(got[settled], want[settled], 0.0, allowed)
        except AssertionError as error:
            worst = np.argmax(np.abs(got[settled] - want[settled]) > allowed)
            raise AssertionError(f"{error}; first at {[x[worst] for x in at]}") from None
        if spec.zero_sign:
            zero = settled & (own == 0) & (got == 0)
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(own[zero]))

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


@pytest.mark.parametrize(
    ("name", "at", "slope"),
    [
        ("relu", 0.0, 0.0),
        ("abs", 0.0, 0.0),
        ("sign", 0.0, 0.0),
        ("leaky_relu", 0.0, 0.2),
        ("elu", 0.0, 1.0),
        ("relu6", 0.0, 0.0),
        ("relu6", 6.0, 0.0),
        ("hard_tanh", 1.0, 0.0),
        ("hard_sigmoid", 3.0, 0.0),
        ("hard_silu", -3.0, 0.0),
        ("floor", 1.0, 0.0),
    ],
)
def test_slopes_at_kinks(name, at, slope):
    x = ad.tensor([at], requires_grad=True)
    getattr(ad, name)(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [slope], rtol=1e-6)


def test_clip_keeps_the_gradient_at_its_bounds():
    x = ad.tensor([-1.0, 0.0, 1.0, 2.0], requires_grad=True)
    ad.clip(x, 0.0, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_powers_at_zero_have_finite_gradients():
    a = ad.tensor([0.0, 0.0, 0.0], requires_grad=True)
    b = ad.tensor([0.0, 1.0, 2.0], requires_grad=True)
    ad.power(a, b).sum().backward()
    assert a.grad.tolist() == [0.0, 1.0, 0.0]
    assert b.grad.tolist() == [0.0, 0.0, 0.0]


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


# -- relations -----------------------------------------------------------------------------------


@few
@given(case=cases(next(spec for spec in SPECS if spec.name == "conv2d"), smooth=True))
def test_a_batch_is_its_images_one_by_one(case):
    x, kernel = case.tensors("float32")
    whole = _core.conv2d(x, kernel, **case.kwargs)
    parts = [_core.conv2d(x[i : i + 1], kernel, **case.kwargs) for i in range(len(x))]
    size = _core.conv2d(ad.abs(x), ad.abs(kernel), **case.kwargs).numpy()
    allowed = 2 * float32_tolerance(size, int(np.prod(kernel.shape[:3])) + 2)
    assert_close(whole, ad.concatenate(parts) if parts else whole, 0.0, allowed)


@few
@given(case=cases(next(spec for spec in SPECS if spec.name == "max_pool2d"), whole=True))
def test_max_pooling_hands_on_the_whole_gradient(case):
    x = ad.tensor(case.arrays("float64")[0], requires_grad=True)
    y = _core.max_pool2d(x, **case.kwargs)
    weights = np.random.default_rng(0).integers(-8, 9, y.shape).astype("float64")
    y.backward(ad.tensor(weights))
    assert float(x.grad.sum()) == weights.sum()


# -- errors --------------------------------------------------------------------------------------


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


def test_a_bool_has_no_arithmetic():
    with pytest.raises(TypeError, match="add: bool operands have no arithmetic; use logical_and"):
        ad.add(ad.tensor([True]), ad.tensor([False]))
