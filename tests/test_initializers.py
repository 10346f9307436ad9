"""Initializers: their statistics, their fans, their seeds, and the layers' defaults."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import initializers, layers

SHAPE = (120, 250)
FAN_IN, FAN_OUT = SHAPE
SCALINGS = {
    "glorot_uniform": ("uniform", 2 / (FAN_IN + FAN_OUT)),
    "glorot_normal": ("truncated", 2 / (FAN_IN + FAN_OUT)),
    "he_uniform": ("uniform", 2 / FAN_IN),
    "he_normal": ("truncated", 2 / FAN_IN),
    "lecun_uniform": ("uniform", 1 / FAN_IN),
    "lecun_normal": ("truncated", 1 / FAN_IN),
}
# Standard deviation of a standard normal distribution between -2 and 2.
TRUNCATED = 0.8796256610342398


def check_moments(values, mean, variance):
    """Assert that mean and variance lie within five standard errors (for the normal's kurtosis)."""
    values = values.astype("float64")
    assert abs(values.mean() - mean) < 5 * np.sqrt(variance / values.size)
    error = variance * np.sqrt(2 / values.size)
    assert abs(values.var() - variance) < 5 * error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(SCALINGS))
def test_variance_scaling(name, dtype):
    shape, variance = SCALINGS[name]
    values = initializers.get(name)(SHAPE, dtype).numpy()
    assert values.dtype == dtype
    check_moments(values, 0.0, variance)
    size = np.abs(values).max()
    limit = np.sqrt(3 * variance) if shape == "uniform" else 2 * np.sqrt(variance) / TRUNCATED
    share = 0.995 if shape == "uniform" else 0.99
    assert share * limit < size <= limit * (1 + 1e-6)


def test_fans_of_convolution_kernels():
    assert initializers.compute_fans((3, 5, 16, 32)) == (3 * 5 * 16, 3 * 5 * 32)
    assert initializers.compute_fans((7,)) == (7, 7)
    assert initializers.compute_fans(()) == (1, 1)
    values = initializers.HeUniform(1)((3, 5, 16, 32)).numpy()
    limit = np.sqrt(6 / 240)
    assert 0.995 * limit < np.abs(values).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal"])
def test_modes_and_distributions(mode, distribution):
    fan = {"fan_in": FAN_IN, "fan_out": FAN_OUT, "fan_avg": (FAN_IN + FAN_OUT) / 2}[mode]
    values = initializers.VarianceScaling(3.0, mode, distribution, seed=1)(SHAPE).numpy()
    check_moments(values, 0.0, 3.0 / fan)


def test_plain_distributions():
    check_moments(initializers.RandomNormal(1.0, 0.5, 1)(SHAPE).numpy(), 1.0, 0.25)
    uniform = initializers.RandomUniform(-1.0, 3.0, 2)(SHAPE).numpy()
    check_moments(uniform, 1.0, 16 / 12)
    assert uniform.min() >= -1.0 and uniform.max() < 3.0
    truncated = initializers.TruncatedNormal(1.0, 0.5, 3)(SHAPE).numpy()
    check_moments(truncated, 1.0, (0.5 * TRUNCATED) ** 2)
    assert np.abs(truncated - 1.0).max() <= 1.0 + 1e-6


def test_constants():
    for initializer, expected in [
        (initializers.Zeros(), np.zeros((2, 3))),
        (initializers.Ones(), np.ones((2, 3))),
        (initializers.Constant(2.5), np.full((2, 3), 2.5)),
        (initializers.Constant([1.0, 2.0, 3.0]), np.tile([1.0, 2.0, 3.0], (2, 1))),
        (initializers.Identity(2.0), 2 * np.eye(2, 3)),
    ]:
        for dtype in ("float32", "float64"):
            values = initializer((2, 3), dtype)
            assert values.dtype == dtype
            np.testing.assert_array_equal(values.numpy(), expected)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 3, 4)], ids=str)
def test_orthogonal(shape):
    q = initializers.Orthogonal(2.0, 1)(shape, "float64").numpy().reshape(-1, shape[-1])
    small = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_seeds():
    seeded = initializers.GlorotUniform(seed=7)
    np.testing.assert_array_equal(seeded((3, 4)).numpy(), seeded((3, 4)).numpy())
    np.testing.assert_array_equal(
        seeded((3, 4)).numpy(), initializers.GlorotUniform(seed=7)((3, 4)).numpy()
    )
    assert (initializers.GlorotUniform(8)((3, 4)).numpy() != seeded((3, 4)).numpy()).any()
    fresh, other = initializers.GlorotUniform(), initializers.GlorotUniform()
    assert (fresh((3, 4)).numpy() != other((3, 4)).numpy()).any()
    generator = initializers.RandomNormal(seed=ad.random.SeedGenerator(1))
    assert (generator((3, 4)).numpy() != generator((3, 4)).numpy()).any()


def test_the_global_seed_decides_unseeded_ones():
    def draw():
        ad.utils.set_random_seed(5)
        return [initializers.GlorotUniform()((3, 4)).numpy() for _ in range(2)]

    (a, b), (c, d) = draw(), draw()
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)
    assert (a != b).any()


@pytest.mark.parametrize(
    ("layer", "shape", "fans"),
    [
        (layers.Dense(200), (None, 150), (150, 200)),
        (layers.Conv2D(64, (3, 5)), (None, 9, 9, 32), (15 * 32, 15 * 64)),
        (layers.Conv2D(64, 3, groups=4), (None, 9, 9, 32), (9 * 8, 9 * 64)),
    ],
)
def test_default_kernels_are_glorot_uniform_and_biases_zero(layer, shape, fans):
    layer.build(shape)
    kernel, bias = layer.get_weights()
    limit = np.sqrt(6 / sum(fans))
    check_moments(kernel, 0.0, limit**2 / 3)
    assert 0.995 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6)
    assert not bias.any()


def test_two_layers_start_differently():
    first, second = layers.Dense(3), layers.Dense(3)
    first.build((None, 4))
    second.build((None, 4))
    assert (first.kernel.numpy() != second.kernel.numpy()).any()


EVERY = [
    initializers.Zeros(),
    initializers.Ones(),
    initializers.Constant(3.0),
    initializers.Identity(2.0),
    initializers.RandomNormal(1.0, 2.0, 3),
    initializers.RandomUniform(-1.0, 1.0, 4),
    initializers.TruncatedNormal(0.0, 1.0, 5),
    initializers.VarianceScaling(2.0, "fan_out", "uniform", 6),
    initializers.GlorotUniform(1),
    initializers.GlorotNormal(2),
    initializers.HeUniform(3),
    initializers.HeNormal(4),
    initializers.LecunUniform(5),
    initializers.LecunNormal(6),
    initializers.Orthogonal(2.0, 7),
]


@pytest.mark.parametrize("initializer", EVERY, ids=lambda one: type(one).__name__)
def test_config_round_trip(initializer):
    again = initializers.deserialize(initializers.serialize(initializer))
    assert type(again) is type(initializer)
    assert again.get_config() == initializer.get_config()
    np.testing.assert_array_equal(again((3, 3)).numpy(), initializer((3, 3)).numpy())


def test_get():
    assert initializers.get(None) is None
    assert type(initializers.get("HeNormal")) is initializers.HeNormal
    assert type(initializers.get(initializers.HeNormal)) is initializers.HeNormal
    with pytest.raises(
        ValueError, match=r"Unknown initializer 'glorot_unifrm'\. Did you mean 'glo"
    ):
        layers.Dense(2, kernel_initializer="glorot_unifrm")
    with pytest.raises(TypeError, match="Cannot interpret 3 as initializer"):
        initializers.get(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.VarianceScaling(0.0), r"`scale` must be above 0\. Received: scale=0"),
        (lambda: initializers.VarianceScaling(mode="fan"), "Unknown mode 'fan'"),
        (lambda: initializers.VarianceScaling(distribution="gaus"), "Unknown distribution 'gaus'"),
        (
            lambda: initializers.Identity()((2, 2, 2)),
            r"two-dimensional shape\. Received: \(2, 2, 2",
        ),
        (lambda: initializers.Orthogonal()((2,)), r"two or more dimensions\. Received: \(2,\)"),
        (lambda: initializers.RandomNormal(seed=-1)((2,)), "seed"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
