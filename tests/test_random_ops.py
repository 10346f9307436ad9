"""Random numbers of the core: distribution, determinism, limits; dropout."""

from __future__ import annotations

import math

import numpy as np
import pytest
from opspecs.spec import FLOATS
from test_ops import same_bits

import autodan as ad
from autodan import _core

KEY = (42, 7)
N = 200_000
LARGEST = 2**64 - 1


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def truncated_cdf(x):
    low, high = normal_cdf(-2), normal_cdf(2)
    return (normal_cdf(x) - low) / (high - low)


RANDOM = {
    "random_uniform": (lambda shape, *key: (shape, -1.0, 3.0, *key), lambda x: (x + 1) / 4),
    "random_normal": (
        lambda shape, *key: (shape, 1.0, 2.0, *key),
        lambda x: normal_cdf((x - 1) / 2),
    ),
    "random_truncated_normal": (
        lambda shape, *key: (shape, 1.0, 2.0, *key),
        lambda x: truncated_cdf((x - 1) / 2),
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", RANDOM)
def test_random_floats_have_their_distribution(name, dtype):
    arguments, cdf = RANDOM[name]
    x = np.sort(getattr(_core, name)(*arguments((N,), dtype, *KEY)).numpy().astype("float64"))
    at = np.linspace(0, N - 1, 500).astype(int)
    distance = np.abs((at + 0.5) / N - np.array([cdf(v) for v in x[at]])).max()
    # Kolmogorov-Smirnov: 1.95 / sqrt(N) is exceeded once in a thousand.
    assert distance < 1.95 / math.sqrt(N)
    if name == "random_uniform":
        assert x[0] >= -1.0 and x[-1] < 3.0
    if name == "random_truncated_normal":
        assert np.abs(x - 1).max() <= 4.0 + 1e-6


@pytest.mark.parametrize("name", RANDOM)
def test_random_floats_are_a_function_of_their_key(name):
    arguments, _ = RANDOM[name]
    draw = getattr(_core, name)
    x = draw(*arguments((1000,), "float32", *KEY)).numpy()
    np.testing.assert_array_equal(x, draw(*arguments((1000,), "float32", *KEY)).numpy())
    np.testing.assert_array_equal(
        x.reshape(10, 100), draw(*arguments((10, 100), "float32", *KEY)).numpy()
    )
    for seed, counter in ((42, 8), (43, 7), (7, 42), (LARGEST, LARGEST)):
        other = draw(*arguments((1000,), "float32", seed, counter)).numpy()
        assert abs(np.corrcoef(x, other)[0, 1]) < 0.15
    for shape in ((0,), (), (3, 0, 2)):
        assert draw(*arguments(shape, "float32", *KEY)).shape == shape
    with pytest.raises(TypeError, match=f"{name}: .*float32 or float64"):
        draw(*arguments((2,), "int32", *KEY))


def test_uniform_floats_stay_below_the_upper_bound():
    for seed in range(20):
        x = _core.random_uniform((100_000,), 1.0, 1.0 + 2.0**-20, "float32", seed, 0).numpy()
        assert x.min() >= 1.0
        assert x.max() < np.float32(1.0 + 2.0**-20)


def test_bernoulli():
    for p in (0.0, 0.3, 1.0):
        x = _core.random_bernoulli((N,), p, "float32", *KEY).numpy()
        assert set(np.unique(x)) <= {0.0, 1.0}
        assert abs(x.mean() - p) < 4 * math.sqrt(0.25 / N) * (0 < p < 1) + 1e-12
    with pytest.raises(ValueError, match=r"random_bernoulli: p=1.5 must be a probability"):
        _core.random_bernoulli((2,), 1.5, "float32", *KEY)


def test_random_integers():
    x = _core.random_randint((N,), -2, 5, "int64", *KEY).numpy()
    counts = np.bincount(x + 2, minlength=7)
    assert len(counts) == 7
    # Chi-squared of 6 degrees of freedom: exceeded once in a thousand.
    assert ((counts - N / 7) ** 2 / (N / 7)).sum() < 22.5
    assert _core.random_randint((3,), 5, 6, "int32", *KEY).tolist() == [5, 5, 5]
    wide = _core.random_randint((100,), -(2**63), 2**63 - 1, "int64", *KEY).numpy()
    assert (wide < 0).any() and (wide > 0).any()
    with pytest.raises(ValueError, match="random_randint: the range from 3 to 3"):
        _core.random_randint((2,), 3, 3, "int64", *KEY)


def test_random_permutations():
    for n in (0, 1, 2, 1000):
        x = _core.random_permutation(n, *KEY)
        assert x.dtype == "int64"
        assert sorted(x.tolist()) == list(range(n))
    firsts = [_core.random_permutation(4, 1, counter).tolist() for counter in range(2400)]
    counts = np.unique([hash(tuple(p)) for p in firsts], return_counts=True)[1]
    assert len(counts) == 24
    # Chi-squared of 23 degrees of freedom: exceeded once in a thousand.
    assert ((counts - 100) ** 2 / 100).sum() < 49.7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: _core.random_uniform((2,), 1.0, 0.0, "float32", 0, 0),
            "random_uniform: the range",
        ),
        (lambda: _core.random_normal((2,), 0.0, -1.0, "float32", 0, 0), "random_normal: mean 0"),
        (lambda: _core.random_normal((2,), np.nan, 1.0, "float32", 0, 0), "must be finite"),
        (lambda: _core.random_uniform((-1,), 0.0, 1.0, "float32", 0, 0), "negative side"),
    ],
)
def test_random_parameters_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_a_fraction_and_scales_the_rest(rate):
    x = ad.tensor(np.ones(N, "float32"), requires_grad=True)
    y = _core.dropout(x, rate, *KEY)
    values = y.detach().numpy()
    kept = values != 0
    np.testing.assert_allclose(values[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / N)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    again = _core.dropout(x, rate, *KEY)
    assert same_bits(again.detach(), y.detach())
    other = _core.dropout(x, rate, KEY[0], KEY[1] + 1).detach().numpy() != 0
    assert abs(np.corrcoef(kept, other)[0, 1]) < 4 / math.sqrt(N)
