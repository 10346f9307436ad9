"""What the passes make of a graph: each fusion against its parts in float64, on every set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given

import autodan as ad
from autodan import _core
from autodan.testing import special_values

SHAPES = [(1, 1, 1), (3, 5, 7), (33, 100, 17), (2, 700, 31)]


@pytest.fixture(params=_core.available_isas())
def isa(request) -> Iterator[str]:
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def compiled(f, *arrays):
    """Return the program of a function, its results, and the names of its kernels."""
    tensors = [ad.tensor(array) for array in arrays]
    _core._trace_begin()
    try:
        outputs = f(*[_core._trace_input(x.shape, x.dtype) for x in tensors])
        program = _core._trace_end(outputs if isinstance(outputs, list) else [outputs]).compile()
    finally:
        _core._trace_abort()
    results = [y.numpy() for y in program.run(tensors, [], [])]
    return results, [row[0] for row in program.kernels()]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_a_product_takes_its_bias_and_relu(isa, m, k, n, relu):
    x, w, b = draw(m, k), draw(k, n, seed=1), draw(n, seed=2)

    def layer(x, w, b):
        y = x @ w + b
        return ad.ops.relu(y) if relu else y

    (y,), names = compiled(layer, x, w, b)
    assert names == [f"Linear({'Relu' if relu else 'Linear'})"]
    wide = x.astype("float64") @ w + b
    bound = 2 * (k + 1) * 2.0**-24 * (np.abs(x).astype("float64") @ np.abs(w) + np.abs(b))
    assert (np.abs(y - (np.maximum(wide, 0) if relu else wide)) <= bound).all()


@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_takes_its_bias_and_relu(isa, relu):
    x, w, b = draw(3, 9, 8, 5), draw(3, 3, 5, 20, seed=1), draw(20, seed=2)

    def layer(x, w, b):
        y = ad.ops.conv(x, w) + b
        return ad.ops.relu(y) if relu else y

    (y,), names = compiled(layer, x, w, b)
    assert len(names) == 1 and names[0].startswith("BiasedConv2d")
    patches = np.lib.stride_tricks.sliding_window_view(x.astype("float64"), (3, 3), (1, 2))
    wide = np.einsum("nijcpq,pqcf->nijf", patches, w) + b
    size = np.einsum("nijcpq,pqcf->nijf", np.abs(patches), np.abs(w)) + np.abs(b)
    wide = np.maximum(wide, 0) if relu else wide
    assert (np.abs(y - wide) <= 2 * 46 * 2.0**-24 * size).all()


def test_what_is_read_twice_is_not_taken():
    x, w, b = draw(4, 5), draw(5, 6, seed=1), draw(6, seed=2)

    def layer(x, w, b):
        product = x @ w
        return [product + b, product]

    _, names = compiled(layer, x, w, b)
    assert names == ["Matmul", "Apply(Add)"]


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        ((4096,), (4096,)),
        ((64, 65), (65,)),
        ((3, 5001), (3, 1)),
        ((5001, 3), ()),
        ((2, 3, 31, 33), (3, 1, 33)),
        ((1, 1, 20000), (20000,)),
        ((70000, 1), (70000, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_ops_run_block_by_block(isa, shape, other, dtype):
    """A chain gives the same bits as its steps: it calls them."""
    x, y = draw(*shape).astype(dtype), draw(*other, seed=1).astype(dtype)

    def f(x, y):
        z = ad.ops.exp(-ad.ops.square(x - y)) * 0.5
        return ad.ops.where(z > 0.25, z, ad.ops.tanh(x) / 3)

    (actual,), names = compiled(f, x, y)
    # The exponential is read twice: it is the end of one chain and an input of the other.
    assert names == ["Chain", "Chain"]
    np.testing.assert_array_equal(actual, f(ad.tensor(x), ad.tensor(y)).numpy())


def test_chains_of_views_and_of_several_dtypes(isa):
    x = draw(200, 180)
    f = lambda x: ad.ops.cast(x.T[::2] * 3 > 1, "int64") + ad.ops.cast(x.T[1::2], "int64")  # noqa: E731
    (actual,), names = compiled(f, x)
    assert names == ["Chain"]
    np.testing.assert_array_equal(actual, f(ad.tensor(x)).numpy())


@given(x=special_values(np.ones((70, 60), "float32")))
def test_special_values_go_through_chains(x):
    f = lambda x: ad.ops.sqrt(ad.ops.relu(x) + x * 2) - ad.ops.maximum(x, 1.0)  # noqa: E731
    (actual,), _ = compiled(f, x)
    np.testing.assert_array_equal(actual, f(ad.tensor(x)).numpy())


def test_small_ones_stay_as_they_are():
    _, names = compiled(lambda x: ad.ops.exp(x) * 2, draw(10))
    assert len(names) == 2


def test_equal_ops_run_once_and_unread_ones_not_at_all():
    x = draw(4, 4)

    def f(x):
        ad.ops.exp(x)
        return ad.ops.tanh(x) + ad.ops.tanh(x)

    (y,), names = compiled(f, x)
    assert len(names) == 2
    np.testing.assert_array_equal(y, 2 * ad.ops.tanh(ad.tensor(x)).numpy())
