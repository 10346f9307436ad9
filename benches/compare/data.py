"""The images that networks are trained on: real ones, since zeros and noise time differently."""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def images(shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images of a shape in [0, 1] and their labels.

    MNIST where it is at hand (`AUTODAN_DATA`), else the digits that autodan brings along, scaled
    up; padded and repeated to 32x32x3 for networks that want that.
    """
    x, y = _mnist() or _digits()
    times = -(-count // len(x))
    x, y = np.tile(x, (times, 1, 1))[:count], np.tile(y, times)[:count]
    margin = (shape[0] - 28) // 2
    x = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    return np.repeat(x[..., None], shape[2], axis=3), y.astype(np.int32)


def _mnist() -> tuple[np.ndarray, np.ndarray] | None:
    import os

    if not os.environ.get("AUTODAN_DATA"):
        return None
    from autodan.datasets import mnist

    (x, y), _ = mnist.load_data()
    return x.astype(np.float32) / 255, y


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from autodan.datasets import digits

    (x, y), _ = digits.load_data()
    x = x.reshape(-1, 8, 8).astype(np.float32) / max(1, x.max())
    x = np.kron(x, np.ones((1, 3, 3), np.float32))
    return np.pad(x, ((0, 0), (2, 2), (2, 2))), y
