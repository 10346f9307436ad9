"""Initial values of weights under the names of `keras.initializers`.

An initializer is called with a shape and a dtype. A random one with a seed gives the same values
at every call; without one it draws its seed from the global generator when it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autodan import _core, random
from autodan._core import Tensor
from autodan.config import standardize_dtype
from autodan.utils import resolve as identifiers
from autodan.utils.naming import lookup

# Standard deviation of a standard normal distribution cut off at two sigma.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base class: `__call__(shape, dtype)` returns the values (Keras `Initializer`).

    >>> class Half(Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         import autodan as ad
    ...         return ad.full(shape, 0.5)
    >>> Half()((2,)).tolist()
    [0.5, 0.5]
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement __call__(self, shape, dtype=None)."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Make an initializer from `get_config()`'s result."""
        return cls(**config)


class Zeros(Initializer):
    """All zeros (Keras `Zeros`).

    >>> Zeros()((2,)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        return _core.zeros(tuple(shape), standardize_dtype(dtype))


class Ones(Initializer):
    """All ones (Keras `Ones`).

    >>> Ones()((2,)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        return _core.ones(tuple(shape), standardize_dtype(dtype))


class Constant(Initializer):
    """One value, or an array that is broadcast to the shape (Keras `Constant`).

    Args:
        value: A number or an array. Default 0.

    >>> Constant(3.0)((2,)).tolist()
    [3.0, 3.0]
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        value = _core.asarray(self.value, dtype=standardize_dtype(dtype))
        return _core.broadcast_to(value, tuple(shape))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"value": self.value}


class Identity(Initializer):
    """The identity matrix times `gain`; for two-dimensional shapes (Keras `Identity`).

    Args:
        gain: Factor. Default 1.

    Raises:
        ValueError: (when called) the shape is not two-dimensional.

    >>> Identity()((2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        shape = tuple(shape)
        if len(shape) != 2:
            raise ValueError(f"Identity needs a two-dimensional shape. Received: {tuple(shape)}.")
        return _core.eye(shape[0], shape[1], standardize_dtype(dtype)) * self.gain

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base class of the random initializers: keeps the seed.

    Args:
        seed: An integer, a `SeedGenerator` (fresh values at every call), or None.
    """

    def __init__(self, seed: random.Seed = None) -> None:
        self._config_seed = seed
        self.seed: random.Seed = random.make_default_seed() if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        seed = self._config_seed
        return {"seed": seed.seed if isinstance(seed, random.SeedGenerator) else seed}


class RandomNormal(RandomInitializer):
    """A normal distribution (Keras `RandomNormal`).

    Args:
        mean: Mean. Default 0.
        stddev: Standard deviation. Default 0.05.
        seed: An integer, a `SeedGenerator`, or None.

    >>> RandomNormal(seed=1)((2, 3)).shape
    (2, 3)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: random.Seed = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        return random.normal(shape, self.mean, self.stddev, standardize_dtype(dtype), self.seed)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"mean": self.mean, "stddev": self.stddev, **super().get_config()}


class TruncatedNormal(RandomNormal):
    """A normal distribution cut off at two standard deviations (Keras `TruncatedNormal`).

    Args:
        mean: Mean. Default 0.
        stddev: Standard deviation before truncation. Default 0.05.
        seed: An integer, a `SeedGenerator`, or None.

    >>> float(TruncatedNormal(seed=1)((100,)).abs().max()) < 0.1001
    True
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        dtype = standardize_dtype(dtype)
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


class RandomUniform(RandomInitializer):
    """A uniform distribution (Keras `RandomUniform`).

    Args:
        minval: Lower bound. Default -0.05.
        maxval: Upper bound. Default 0.05.
        seed: An integer, a `SeedGenerator`, or None.

    >>> float(RandomUniform(seed=1)((100,)).abs().max()) < 0.0501
    True
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: random.Seed = None
    ) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        dtype = standardize_dtype(dtype)
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"minval": self.minval, "maxval": self.maxval, **super().get_config()}


class VarianceScaling(RandomInitializer):
    """Random values whose variance is `scale / n`, n counting connections (Keras).

    Args:
        scale: Factor of the variance, above 0. Default 1.
        mode: What n is: "fan_in" (default), "fan_out" or "fan_avg".
        distribution: "truncated_normal" (default), "untruncated_normal" or "uniform".
        seed: An integer, a `SeedGenerator`, or None.

    Raises:
        ValueError: `scale` is not above 0, or `mode` or `distribution` is unknown.

    >>> VarianceScaling(2.0, "fan_out", "uniform", seed=1)((3, 4)).shape
    (3, 4)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: random.Seed = None,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"VarianceScaling: `scale` must be above 0. Received: scale={scale}.")
        super().__init__(seed)
        self.scale = scale
        self.mode = lookup("mode", mode, {m: m for m in ("fan_in", "fan_out", "fan_avg")})
        names = ("truncated_normal", "untruncated_normal", "uniform")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        self.distribution = lookup("distribution", distribution, {n: n for n in names})

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        dtype = standardize_dtype(dtype)
        fan_in, fan_out = compute_fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, math.sqrt(variance), dtype, self.seed)
        stddev = math.sqrt(variance) / _TRUNCATED_STDDEV
        return random.truncated_normal(shape, 0.0, stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            **super().get_config(),
        }


class _NamedScaling(VarianceScaling):
    """A variance scaling whose only argument is the seed."""

    _arguments: tuple[float, str, str]

    def __init__(self, seed: random.Seed = None) -> None:
        super().__init__(*self._arguments, seed=seed)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return RandomInitializer.get_config(self)


class GlorotUniform(_NamedScaling):
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot, Bengio 2010; Keras).

    >>> float(GlorotUniform(seed=1)((2, 4)).abs().max()) < 1.0001
    True
    """

    _arguments = (1.0, "fan_avg", "uniform")


class GlorotNormal(_NamedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot, Bengio 2010; Keras).

    >>> GlorotNormal(seed=1)((2, 4)).shape
    (2, 4)
    """

    _arguments = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_NamedScaling):
    """Uniform within sqrt(6 / fan_in) (He et al. 2015; Keras).

    >>> float(HeUniform(seed=1)((6, 4)).abs().max()) < 1.0001
    True
    """

    _arguments = (2.0, "fan_in", "uniform")


class HeNormal(_NamedScaling):
    """Truncated normal of variance 2 / fan_in (He et al. 2015; Keras).

    >>> HeNormal(seed=1)((6, 4)).shape
    (6, 4)
    """

    _arguments = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_NamedScaling):
    """Uniform within sqrt(3 / fan_in) (LeCun et al. 1998; Keras).

    >>> float(LecunUniform(seed=1)((3, 4)).abs().max()) < 1.0001
    True
    """

    _arguments = (1.0, "fan_in", "uniform")


class LecunNormal(_NamedScaling):
    """Truncated normal of variance 1 / fan_in (LeCun et al. 1998; Keras).

    >>> LecunNormal(seed=1)((3, 4)).shape
    (3, 4)
    """

    _arguments = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """A random orthogonal matrix times `gain` (Saxe et al. 2013; Keras `Orthogonal`).

    For more than two dimensions, the leading ones are flattened into rows.

    Args:
        gain: Factor. Default 1.
        seed: An integer, a `SeedGenerator`, or None.

    Raises:
        ValueError: (when called) the shape has fewer than two dimensions.

    >>> q = Orthogonal(seed=1)((3, 3), "float64").numpy()
    >>> bool(abs(q @ q.T - np.eye(3)).max() < 1e-9)
    True
    """

    def __init__(self, gain: float = 1.0, seed: random.Seed = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """Return the values, of this shape and dtype (default `floatx()`)."""
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs two or more dimensions. Received: {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        size = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(random.normal(size, dtype="float64", seed=self.seed).numpy())
        q = q * np.sign(np.diag(r))  # makes the distribution uniform
        q = (q.T if rows < columns else q).reshape(tuple(shape)) * self.gain
        return _core.asarray(q, dtype=standardize_dtype(dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"gain": self.gain, **super().get_config()}


def compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """Return how many inputs and outputs a weight of this shape connects, as Keras counts them.

    A matrix is (in, out), a convolution kernel (..., in, out).

    >>> compute_fans((3, 3, 16, 32))
    (144, 288)
    """
    shape = tuple(shape)
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


zeros = Zeros
ones = Ones
constant = Constant
identity = Identity
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
orthogonal = Orthogonal

_TABLE: dict[str, type[Initializer]] = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type)
    and issubclass(value, Initializer)
    and value not in (Initializer, RandomInitializer, _NamedScaling)
} | {"normal": RandomNormal, "uniform": RandomUniform, "zero": Zeros, "one": Ones}


def get(identifier: Any) -> Any:
    """Return the initializer for a name, config dict, class, instance or callable; None for None.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.

    >>> type(get("he_normal")).__name__
    'HeNormal'
    """
    return identifiers.resolve("initializer", identifier, _TABLE)


def serialize(initializer: Any) -> Any:
    """Return the config of an initializer, the name of a function, or None.

    Raises:
        ValueError: it is a function without a name, as a lambda.

    >>> serialize(Constant(2.0))["config"]
    {'value': 2.0}
    """
    return identifiers.serialize(initializer, _TABLE)


def deserialize(config: Any) -> Any:
    """Make an initializer from `serialize()`'s result.

    >>> deserialize(serialize(Constant(2.0))).value
    2.0
    """
    return get(config)
