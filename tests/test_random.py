"""Random numbers: reproducible sequences, independent generators, and Keras's functions."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import random


def draws():
    return [
        random.uniform((3,)).tolist(),
        random.normal((3,)).tolist(),
        random.truncated_normal((3,)).tolist(),
        random.randint((3,), 0, 1000).tolist(),
        random.permutation(9).tolist(),
    ]


def test_the_global_seed_repeats_the_sequence():
    ad.utils.set_random_seed(11)
    first = draws()
    second = draws()
    ad.utils.set_random_seed(11)
    assert draws() == first
    assert draws() == second
    assert first != second


def test_set_random_seed_covers_python_and_numpy():
    import random as python_random

    def both():
        ad.utils.set_random_seed(3)
        return python_random.random(), float(np.random.rand())

    assert both() == both()


def test_an_integer_seed_gives_the_same_values_at_every_call():
    assert random.normal((4,), seed=5).tolist() == random.normal((4,), seed=5).tolist()
    assert random.normal((4,), seed=5).tolist() != random.normal((4,), seed=6).tolist()


def test_seed_generators_are_independent():
    a, b = random.SeedGenerator(1), random.SeedGenerator(1)
    first = [random.uniform((3,), seed=a).tolist() for _ in range(3)]
    random.uniform((3,))
    assert [random.uniform((3,), seed=b).tolist() for _ in range(3)] == first
    assert len({tuple(values) for values in first}) == 3


def test_a_longer_draw_begins_like_a_shorter_one():
    """Elements are functions of their index, which is what makes threads harmless."""
    long = random.normal((1000,), seed=2).numpy()
    np.testing.assert_array_equal(random.normal((10,), seed=2).numpy(), long[:10])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_and_ranges(dtype):
    n = 50_000
    uniform = random.uniform((n,), 2.0, 5.0, dtype, 1).numpy()
    assert uniform.dtype == dtype
    assert uniform.min() >= 2.0 and uniform.max() < 5.0
    assert abs(uniform.mean() - 3.5) < 5 * np.sqrt(9 / 12 / n)
    normal = random.normal((n,), -1.0, 2.0, dtype, 2).numpy().astype("float64")
    assert abs(normal.mean() + 1.0) < 5 * 2 / np.sqrt(n)
    assert abs(normal.var() - 4.0) < 5 * 4 * np.sqrt(2 / n)
    assert abs((((normal + 1) / 2) ** 4).mean() - 3.0) < 5 * np.sqrt(96 / n)


def test_randint_covers_its_range_evenly():
    values = random.randint((60_000,), -2, 4, seed=3)
    assert values.dtype == "int32"
    counts = np.bincount(values.numpy() + 2, minlength=6)
    assert len(counts) == 6
    assert np.abs(counts - 10_000).max() < 5 * np.sqrt(60_000 * 5 / 36)


def test_permutation_and_shuffle():
    order = random.permutation(1000, seed=1).numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (order != np.arange(1000)).mean() > 0.9
    x = np.arange(12).reshape(4, 3)
    mixed = random.shuffle(x, axis=1, seed=2).numpy()
    np.testing.assert_array_equal(np.sort(mixed, axis=1), x)
    assert random.permutation(0).tolist() == []


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "one"])
def test_bad_seeds(seed):
    with pytest.raises((ValueError, TypeError), match="seed"):
        random.SeedGenerator(seed)
    with pytest.raises((ValueError, TypeError), match="seed"):
        random.uniform((2,), seed=seed)
