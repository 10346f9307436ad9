"""The tables of docs/numerics.md, row by row: what they say is what the functions do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import autodan as ad
from autodan import _core

NAN, INF = float("nan"), float("inf")
CASES = {}


def rows():
    """Return the rows of all tables, as written."""
    page = (Path(__file__).parent.parent / "docs" / "numerics.md").read_text()
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\|\n)+)", page, flags=re.MULTILINE)
    return [row.strip("| ") for table in tables for row in table.splitlines()]


def case(row):
    """Register what holds a row to the code: any change of the row asks for a look at its case."""

    def register(check):
        assert row not in CASES
        CASES[row] = check
        return check

    return register


def slopes(f, *xs):
    """Return the gradients of the sum of `f(*xs)`, in float64."""
    tensors = [ad.tensor(np.asarray(x, "float64"), requires_grad=True) for x in xs]
    f(*tensors).sum().backward()
    return [t.grad.tolist() for t in tensors]


def equal(actual, expected):
    np.testing.assert_array_equal(np.asarray(actual, "float64"), np.asarray(expected, "float64"))


def values(f, *xs, dtype="float32", **options):
    return f(*(ad.tensor(np.asarray(x, dtype)) for x in xs), **options).numpy()


def test_every_row_has_a_case_and_every_case_a_row():
    assert sorted(CASES) == sorted(rows())


@pytest.mark.parametrize("row", rows())
def test_a_row_says_what_happens(row):
    CASES[row]()


# Gradients at kinks


@case("`relu`, `abs`, `sign` | 0 | 0")
def _():
    for f in (ad.relu, ad.abs, ad.sign):
        equal(slopes(f, [0.0, -0.0]), [[0, 0]])


@case("`relu6` | 0 and 6 | 0")
def _():
    equal(slopes(ad.relu6, [0, 3, 6]), [[0, 1, 0]])


@case("`hard_sigmoid`, `hard_silu` | -3 and 3 | 0 and, for `hard_silu` at 3, 1")
def _():
    equal(slopes(ad.hard_sigmoid, [-3, 3]), [[0, 0]])
    equal(slopes(ad.hard_silu, [-3, 3]), [[0, 1]])


@case("`hard_tanh` | -1 and 1 | 0")
def _():
    equal(slopes(ad.hard_tanh, [-1, 0, 1]), [[0, 1, 0]])


@case("`leaky_relu`, `elu`, `selu` | 0 | the left one: `negative_slope`, `alpha`, 1.7581")
def _():
    equal(slopes(lambda x: ad.leaky_relu(x, 0.25), [0]), [[0.25]])
    equal(slopes(lambda x: ad.elu(x, 0.5), [0]), [[0.5]])
    assert round(slopes(ad.selu, [0])[0][0], 4) == 1.7581


@case("`clip` | its bounds | 1")
def _():
    equal(slopes(lambda x: ad.clip(x, -1.0, 2.0), [-2, -1, 2, 3]), [[0, 1, 1, 0]])


@case("`floor`, `ceil`, `round`, `trunc`, `floor_divide` | everywhere | 0")
def _():
    for f in (ad.floor, ad.ceil, ad.round, ad.trunc):
        equal(slopes(f, [-1.5, 0, 0.5, 1, 7.2]), [[0] * 5])
    equal(slopes(ad.floor_divide, [7, 6], [2, 4]), [[0, 0], [0, 0]])


@case(
    "`mod(x1, x2)` | everywhere | with respect to `x1`, 1; with respect to `x2`, `-floor(x1 / x2)`"
)
def _():
    equal(slopes(ad.mod, [7, -7, 6], [2, 2, 3]), [[1, 1, 1], [-3, 4, -2]])


@case(
    "`power(x1, x2)` | `x1 = 0` | with respect to `x2`, 0; with respect to `x1`, 0 where `x2 = 0`"
)
def _():
    equal(slopes(ad.power, [0, 0, 0], [0, 1, 2]), [[0, 1, 0], [0, 0, 0]])


@case("`std` | equal elements | 0")
def _():
    equal(slopes(ad.std, [2, 2, 2]), [[0, 0, 0]])


@case("`prod` | zeros | the product of the other elements")
def _():
    equal(slopes(ad.prod, [0, 2, 3]), [[6, 0, 0]])
    equal(slopes(ad.prod, [0, 2, 0]), [[0, 0, 0]])


@case("`sqrt`, `log`, `arcsin`, `arccosh`, `arctanh` | the end of their domain | infinite")
def _():
    for f, end in (
        (ad.sqrt, 0),
        (ad.log, 0),
        (ad.arcsin, 1),
        (ad.arcsin, -1),
        (ad.arccosh, 1),
        (ad.arctanh, 1),
    ):
        equal(slopes(f, [end]), [[INF]])


@case("`relu`, `relu6`, `hard_sigmoid`, `hard_silu`, `hard_tanh`, `clip` | NaN | 0")
def _():
    for f in (ad.relu, ad.relu6, ad.hard_sigmoid, ad.hard_silu, ad.hard_tanh):
        equal(slopes(f, [NAN]), [[0]])
    equal(slopes(lambda x: ad.clip(x, 0.0, 1.0), [NAN]), [[0]])


# Ties


@case("`argmax`, `argmin` | the first")
def _():
    for f in (ad.argmax, ad.argmin):
        for n in (2, 33, 1000):
            assert f(ad.ones((n,))).item() == 0


@case("gradient of `max`, `min` over axes | the first, in row-major order")
def _():
    for f in (ad.max, ad.min):
        equal(slopes(f, [[5, 5], [5, 5]]), [[[1, 0], [0, 0]]])
        equal(slopes(lambda x, f=f: f(x, axis=0), [[5, 5], [5, 5]]), [[[1, 1], [0, 0]]])


def image(*rows):
    return np.asarray(rows, "float64")[None, :, :, None]


def pooled(f, x, *args, **options):
    return slopes(lambda x: f(x, *args, **options), x)[0]


@case("gradient of `max_pool2d` | the first of the window, in row-major order")
def _():
    equal(pooled(_core.max_pool2d, image([1, 2], [2, 2]), 2), image([0, 1], [0, 0]))


@case("gradient of `maximum(x1, x2)`, `minimum(x1, x2)` | `x1`")
def _():
    for f in (ad.maximum, ad.minimum):
        equal(slopes(f, [3], [3]), [[1], [0]])


@case(
    "gradient of a first layer's kernel behind its pooling | infinity or NaN in pixels that no "
    "maximum saw | is not seen"
)
def _():
    pixels = np.zeros((1, 4, 4, 1), "float32")
    pixels[0, 3, 3, 0] = -np.inf
    kernel = ad.Variable(np.ones((3, 3, 1, 1), "float32"))
    y = _core.conv2d_max_pool(ad.tensor(pixels), kernel, ad.zeros(1), 1, "valid", 1, 1, "linear")
    y.sum().backward()
    equal(y, [[[[0]]]])
    equal(kernel.grad, np.zeros((3, 3, 1, 1)))


@case("gradient of an element picked twice | the sum of both")
def _():
    equal(slopes(lambda x: ad.take(x, [1, 1, 0]), [5, 6]), [[1, 2]])
    equal(slopes(lambda x: x[[1, 1, 0]], [5, 6]), [[1, 2]])


@case("`t[indices] = values` with an index twice | the last")
def _():
    t = ad.zeros((2,))
    t[[0, 0, 1, 0]] = ad.tensor([1.0, 2.0, 3.0, 4.0])
    assert t.tolist() == [4, 3]


@case("`round` | to even: `round(0.5)` is 0, `round(1.5)` is 2")
def _():
    equal(values(ad.round, [0.5, 1.5, 2.5, -0.5]), [0, 2, 2, 0])


# NaN and infinity

LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 67)


def with_one(n, value):
    """Yield ones with the value in each position."""
    for at in range(n):
        x = np.ones(n)
        x[at] = value
        yield at, x


@case("`maximum`, `minimum`, `max`, `min`, `clip`, `max_pool2d` | a NaN among the operands | NaN")
def _():
    for n in LENGTHS:
        for _, x in with_one(n, NAN):
            for f in (ad.max, ad.min):
                assert np.isnan(values(f, x))
            for f in (ad.maximum, ad.minimum):
                equal(np.isnan(values(f, x, np.zeros(n))), np.isnan(x))
                equal(np.isnan(values(f, np.zeros(n), x)), np.isnan(x))
            equal(np.isnan(values(ad.clip, x, x_min=0.0, x_max=0.5)), np.isnan(x))
            assert np.isnan(values(_core.max_pool2d, x.reshape(1, 1, n, 1), pool_size=(1, n))).all()


@case("`argmax`, `argmin` | several NaNs | the index of the first")
def _():
    for f in (ad.argmax, ad.argmin):
        for n in LENGTHS:
            for at, x in with_one(n, NAN):
                x[-1] = NAN
                assert values(f, x) == at


@case("gradient of `max`, `min`, `max_pool2d` | several NaNs | to the first")
def _():
    for f in (ad.max, ad.min):
        equal(slopes(f, [1, NAN, 9, NAN]), [[0, 1, 0, 0]])
    equal(pooled(_core.max_pool2d, image([1, NAN], [9, NAN]), 2), image([0, 1], [0, 0]))


@case("gradient of `maximum(x1, x2)`, `minimum(x1, x2)` | a NaN in either | to `x2`")
def _():
    for f in (ad.maximum, ad.minimum):
        equal(slopes(f, [NAN, 1, NAN], [1, NAN, NAN]), [[0, 0, 0], [1, 1, 1]])


@case("`equal`, `less` and the other comparisons but `not_equal` | NaN | False")
def _():
    for f in (ad.equal, ad.less, ad.less_equal, ad.greater, ad.greater_equal):
        equal(values(f, [NAN, NAN, 1], [NAN, 1, NAN]), [0, 0, 0])
    equal(values(ad.not_equal, [NAN, NAN, 1], [NAN, 1, NAN]), [1, 1, 1])


@case(
    "`matmul`, `conv2d` | 0 times infinity or NaN | NaN; padding at the sides counts as zeros, "
    "rows of padding are skipped"
)
def _():
    for special in (NAN, INF):
        for n in LENGTHS:
            for at, x in with_one(n, special):
                assert np.isnan(values(ad.matmul, np.zeros(n), x))
                columns = np.isnan(values(ad.matmul, np.zeros((3, 1)), x[None]))
                assert columns[:, at].all() and columns.sum() == 3
        kernel = np.ones((3, 3, 1, 1))
        kernel[0, 0] = special
        y = values(_core.conv2d, image([0, 0], [0, 0]), kernel, padding="same")
        assert not np.isnan(y[0, 0]).any()
        assert np.isnan(y[0, 1]).all()


@case("`max_pool2d` | padding | never wins, not even over minus infinity")
def _():
    x = image([-INF, -5], [-7, -9])
    equal(values(_core.max_pool2d, x, pool_size=3, strides=1, padding="same").ravel(), [-5] * 4)
    lone = image([-INF])
    equal(values(_core.max_pool2d, lone, pool_size=3, padding="same").ravel(), [-INF])
    equal(pooled(_core.max_pool2d, lone, 3, padding="same"), image([1]))


@case("`average_pool2d` | padding | is not counted")
def _():
    x = image([1, 2], [3, 6])
    equal(values(_core.average_pool2d, x, pool_size=3, strides=1, padding="same").ravel(), [3] * 4)


@case("`sqrt`, `log`, `arcsin`, `arccosh` | numbers outside their domain | NaN")
def _():
    for n in LENGTHS:
        for f, inside in ((ad.sqrt, 0.5), (ad.log, 0.5), (ad.arcsin, 0.5), (ad.arccosh, 1.5)):
            for at, x in with_one(n, -2):
                x[x == 1] = inside
                equal(np.isnan(values(f, x)), np.arange(n) == at)


@case("`log` | 0 | minus infinity")
def _():
    equal(values(ad.log, [0.0, -0.0] * 9), [-INF] * 18)


@case("`divide` | 0 as divisor | infinity, or NaN for 0 / 0")
def _():
    equal(values(ad.divide, [1, -1, 0, 1], [0.0, 0.0, 0.0, -0.0]), [INF, -INF, NAN, -INF])


@case("`floor_divide`, `mod` of integers | 0 as divisor | 0")
def _():
    for f in (ad.floor_divide, ad.mod):
        for dtype in ("int32", "int64", "uint8"):
            equal(values(f, [7, 0], [0, 0], dtype=dtype), [0, 0])


@case("`power` of integers | a negative exponent | 0, but for bases 1 and -1")
def _():
    equal(
        values(ad.power, [2, 1, -1, -1, 0], [-1, -2, -1, -2, -1], dtype="int32"), [0, 1, -1, 1, 0]
    )


@case("`add`, `multiply`, `sum` of integers | overflow | wraps around")
def _():
    most = np.iinfo("int64").max
    assert values(ad.add, [most], [1], dtype="int64").tolist() == [-most - 1]
    assert values(ad.multiply, [most], [2], dtype="int64").tolist() == [-2]
    assert values(ad.sum, [most, 1], dtype="int64").item() == -most - 1
    assert values(ad.add, [255], [2], dtype="uint8").tolist() == [1]


@case("`softmax`, `log_softmax`, `logsumexp` | large numbers | no overflow")
def _():
    equal(values(ad.softmax, [1e30, 1e30, -1e30]), [0.5, 0.5, 0])
    equal(values(ad.log_softmax, [1e30, 0]), [0, np.float32(-1e30)])
    equal(values(ad.logsumexp, [1e30, 0]), np.float32(1e30))


@case(
    "`softmax`, `log_softmax` | minus infinity among others | 0 and minus infinity; the others as "
    "without it"
)
def _():
    for n in (3, 17, 33):
        for at, x in with_one(n, -INF):
            rest = np.arange(n) != at
            equal(values(ad.softmax, x)[at], 0)
            equal(values(ad.log_softmax, x)[at], -INF)
            np.testing.assert_allclose(values(ad.softmax, x)[rest], 1 / (n - 1), rtol=1e-6)


@case("`softmax`, `log_softmax` | NaN, infinity, or minus infinity alone | NaN in the whole row")
def _():
    for f in (ad.softmax, ad.log_softmax):
        for n in LENGTHS:
            for special in (NAN, INF):
                for _, x in with_one(n, special):
                    equal(values(f, [x, np.ones(n)])[0], [NAN] * n)
                    assert not np.isnan(values(f, [x, np.ones(n)])[1]).any()
            equal(values(f, [-INF] * n), [NAN] * n)


@case("`logsumexp` | infinity, or minus infinity alone | that infinity")
def _():
    equal(values(ad.logsumexp, [[INF, 1, -INF], [-INF, -INF, -INF]], axis=1), [INF, -INF])


@case("`silu`, `gelu`, `mish`, `hard_silu` | minus infinity | NaN: it is multiplied by 0")
def _():
    for f in (ad.silu, ad.gelu, ad.mish, ad.hard_silu):
        equal(values(f, [-INF, INF]), [NAN, INF])


@case("`sum`, `prod`, `any`, `all` | no elements | 0, 1, False, True")
def _():
    got = [values(f, np.zeros((0, 2)), axis=0)[1] for f in (ad.sum, ad.prod, ad.any, ad.all)]
    assert got == [0, 1, False, True]


@case("`mean`, `var`, `std` | no elements | NaN")
def _():
    for f in (ad.mean, ad.var, ad.std):
        equal(values(f, np.zeros((2, 0)), axis=1), [NAN, NAN])


@case("`max`, `min`, `argmax`, `argmin`, `logsumexp` | no elements | ValueError")
def _():
    for f in (ad.max, ad.min, ad.argmax, ad.argmin, ad.logsumexp):
        with pytest.raises(ValueError, match=f"{f.__name__}: no .* of no elements"):
            f(ad.zeros((2, 0)), axis=1)
        assert f(ad.zeros((0, 2)), axis=1).shape == (0,)


@case("`one_hot` | a label that is no class | zeros")
def _():
    equal(ad.one_hot([-1, 0, 2, 5], 2), [[0, 0], [1, 0], [0, 0], [0, 0]])


@case("`cast` to integers | NaN, numbers out of range | 0, the nearest number in range")
def _():
    for dtype in ("int32", "int64", "uint8"):
        bounds = np.iinfo(dtype)
        got = ad.tensor([NAN, INF, -INF, 1e30, -1e30]).astype(dtype).tolist()
        assert got == [0, bounds.max, bounds.min, bounds.max, bounds.min]


@case("`cast` to bool | NaN | True")
def _():
    assert ad.tensor([NAN, 0.0, -0.0]).astype("bool").tolist() == [True, False, False]
