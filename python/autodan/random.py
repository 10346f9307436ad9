"""Seeded random tensors under the names of `keras.random`.

Every draw is a pure function of a seed, a counter and the element's position, so that results do
not depend on thread count, and a `SeedGenerator` is nothing but those two integers.
"""

from __future__ import annotations

import operator
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from autodan import _core
from autodan._core import Tensor
from autodan.config import floatx

_WORD = 2**64


class SeedGenerator:
    """A stream of random keys: each `next()` gives a fresh one (Keras `random.SeedGenerator`).

    Args:
        seed: Where the stream starts, an integer of 0 or more. None draws a seed from the global
            generator, so that `set_seed` determines it too.

    Raises:
        ValueError: the seed is negative or 2**64 or more.

    >>> generator = SeedGenerator(7)
    >>> generator.next(), generator.next()
    ((7, 0), (7, 1))
    """

    __slots__ = ("counter", "seed")

    def __init__(self, seed: int | None = None) -> None:
        self.seed = make_default_seed() if seed is None else check_seed(seed)
        self.counter = 0

    def next(self) -> tuple[int, int]:
        """Return the next key, a pair of a seed and a counter."""
        key = (self.seed, self.counter)
        self.counter += 1
        return key

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """Make a generator from `get_config()`'s result."""
        return cls(**config)


Seed: TypeAlias = int | SeedGenerator | None
Shape: TypeAlias = int | Sequence[int]


def check_seed(seed: int) -> int:
    """Return the seed as a Python integer.

    Raises:
        ValueError: the seed is negative or 2**64 or more.
        TypeError: the seed is no integer.

    >>> check_seed(3)
    3
    """
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"A seed must be an integer. Received: seed={seed!r}.") from None
    if not 0 <= value < _WORD:
        raise ValueError(f"A seed must lie between 0 and 2**64 - 1. Received: seed={seed}.")
    return value


_global_generator = SeedGenerator(secrets.randbits(63))
_seedings = 0


class _Separate(threading.local):
    generator: SeedGenerator | None = None


_separate = _Separate()


def global_stream() -> SeedGenerator:
    """Return the generator that whatever has no seed of its own draws from, on this thread.

    >>> isinstance(global_stream(), SeedGenerator)
    True
    """
    return _separate.generator or _global_generator


@contextmanager
def separate_stream(seed: int) -> Iterator[None]:
    """Let this thread draw from a stream of its own inside the block; the global one stays.

    >>> set_seed(1)
    >>> with separate_stream(2):
    ...     _ = make_default_seed()
    >>> draw_key()
    (1, 0)
    """
    with stream_replaced(SeedGenerator(seed)):
        yield


@contextmanager
def stream_replaced(generator: SeedGenerator) -> Iterator[None]:
    """Let this thread draw from a generator inside the block; the global one stays.

    >>> with stream_replaced(SeedGenerator(4)):
    ...     draw_key()
    (4, 0)
    """
    outer, _separate.generator = _separate.generator, generator
    try:
        yield
    finally:
        _separate.generator = outer


def seedings() -> int:
    """Return how often `set_seed` was called: what was drawn before the last time is out of date.

    >>> before = seedings()
    >>> set_seed(1); seedings() - before
    1
    """
    return _seedings


def set_seed(seed: int) -> None:
    """Seed the global generator, and with it everything that has no seed of its own.

    Raises:
        ValueError: the seed is negative or 2**64 or more.

    >>> set_seed(1); a = uniform((3,)).tolist()
    >>> set_seed(1); a == uniform((3,)).tolist()
    True
    """
    global _seedings
    _global_generator.seed = check_seed(seed)
    _global_generator.counter = 0
    _seedings += 1


def make_default_seed() -> int:
    """Draw a seed from the global generator, for an initializer or layer without one.

    >>> set_seed(5); a = make_default_seed()
    >>> a == make_default_seed()
    False
    """
    seed, counter = global_stream().next()
    # SplitMix64 (Steele, Lea, Flood 2014): neighbouring inputs give unrelated seeds.
    z = (seed + (counter + 1) * 0x9E3779B97F4A7C15) % _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % _WORD
    return z ^ (z >> 31)


def draw_key(seed: Seed = None) -> tuple[int, int]:
    """Return the key that a random function uses for its `seed` argument.

    An integer always gives the same key, a generator its next one, None the global one's next.

    >>> draw_key(3), draw_key(3)
    ((3, 0), (3, 0))
    """
    if seed is None:
        return global_stream().next()
    if isinstance(seed, SeedGenerator):
        return seed.next()
    return check_seed(seed), 0


def _shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def uniform(
    shape: Shape,
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Draw uniformly from [minval, maxval) (Keras `random.uniform`).

    Args:
        shape: Shape of the result.
        minval: Lower bound, included. Default 0.
        maxval: Upper bound, excluded. Default 1.
        dtype: Float dtype, `floatx()` by default.
        seed: An integer (same values at every call), a `SeedGenerator`, or None.

    >>> uniform((2, 3), seed=1).shape
    (2, 3)
    """
    return _core.random_uniform(_shape(shape), minval, maxval, dtype or floatx(), *draw_key(seed))


def normal(
    shape: Shape,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Draw from a normal distribution (Keras `random.normal`).

    Args:
        shape: Shape of the result.
        mean: Mean. Default 0.
        stddev: Standard deviation. Default 1.
        dtype: Float dtype, `floatx()` by default.
        seed: An integer (same values at every call), a `SeedGenerator`, or None.

    >>> normal((4,), seed=1).tolist() == normal((4,), seed=1).tolist()
    True
    """
    return _core.random_normal(_shape(shape), mean, stddev, dtype or floatx(), *draw_key(seed))


def truncated_normal(
    shape: Shape,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: str | None = None,
    seed: Seed = None,
) -> Tensor:
    """Draw from a normal distribution cut off at two standard deviations (Keras).

    Args:
        shape: Shape of the result.
        mean: Mean before truncation. Default 0.
        stddev: Standard deviation before truncation. Default 1.
        dtype: Float dtype, `floatx()` by default.
        seed: An integer (same values at every call), a `SeedGenerator`, or None.

    >>> float(truncated_normal((1000,), seed=1).abs().max()) < 2.001
    True
    """
    return _core.random_truncated_normal(
        _shape(shape), mean, stddev, dtype or floatx(), *draw_key(seed)
    )


def randint(
    shape: Shape, minval: int, maxval: int, dtype: str = "int32", seed: Seed = None
) -> Tensor:
    """Draw integers uniformly from [minval, maxval) (Keras `random.randint`).

    Args:
        shape: Shape of the result.
        minval: Lower bound, included.
        maxval: Upper bound, excluded.
        dtype: Integer dtype. Default "int32".
        seed: An integer (same values at every call), a `SeedGenerator`, or None.

    >>> randint((3,), 5, 6).tolist()
    [5, 5, 5]
    """
    return _core.random_randint(_shape(shape), minval, maxval, dtype, *draw_key(seed))


def dropout(
    inputs: Tensor,
    rate: float,
    noise_shape: Sequence[int | None] | None = None,
    seed: Seed = None,
) -> Tensor:
    """Zero a fraction `rate` of the elements and scale the others by 1 / (1 - rate) (Keras).

    Args:
        inputs: A float tensor of any shape.
        rate: Fraction to drop, between 0 and 1.
        noise_shape: Shape of the mask, broadcast over `inputs`; None entries take the input's
            size. By default every element is drawn on its own.
        seed: An integer (same mask at every call), a `SeedGenerator`, or None.

    Raises:
        ValueError: `rate` lies outside [0, 1].

    >>> import autodan as ad
    >>> sorted(set(dropout(ad.ones((100,)), 0.5, seed=1).tolist()))
    [0.0, 2.0]
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout: `rate` must lie between 0 and 1. Received: rate={rate}.")
    inputs = inputs if isinstance(inputs, Tensor) else _core.asarray(inputs)
    if rate == 0:
        return inputs
    if rate == 1:
        return _core.zeros_like(inputs)
    key = draw_key(seed)
    if noise_shape is None:
        return _core.dropout(inputs, rate, *key)
    sizes = zip(noise_shape, inputs.shape, strict=True)
    mask_shape = tuple(full if size is None else size for size, full in sizes)
    mask = _core.random_bernoulli(mask_shape, 1 - rate, inputs.dtype, *key)
    return inputs * (mask / (1 - rate))


def permutation(n: int, seed: Seed = None) -> Tensor:
    """Return the integers below `n` in random order, an int64 tensor of shape (n,).

    >>> sorted(permutation(4, seed=1).tolist())
    [0, 1, 2, 3]
    """
    return _core.random_permutation(n, *draw_key(seed))


def shuffle(x: Tensor, axis: int = 0, seed: Seed = None) -> Tensor:
    """Return `x` with its slices along `axis` in random order (Keras `random.shuffle`).

    >>> sorted(shuffle([3, 1, 2], seed=1).tolist())
    [1, 2, 3]
    """
    x = _core.asarray(x)
    return _core.take(x, permutation(x.shape[axis], seed), axis=axis)
