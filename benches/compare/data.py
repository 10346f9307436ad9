"""The images that networks are trained on: real ones, since zeros and noise time differently."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

Split = tuple[np.ndarray, np.ndarray]


@cache
def images(shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images of a shape in [0, 1] and their labels.

    MNIST where it is at hand (`AUTODAN_DATA`), else the digits that autodan brings along, scaled
    up; padded and repeated to 32x32x3 for networks that want that.
    """
    (x, y), _ = _mnist() or _digits()
    times = -(-count // len(x))
    x, y = np.tile(x, (times, 1, 1))[:count], np.tile(y, times)[:count]
    margin = (shape[0] - 28) // 2
    x = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    return np.repeat(x[..., None], shape[2], axis=3), y.astype(np.int32)


NAMES = ("x", "y", "x_test", "y_test")


def save_splits(folder: Path, count: int | None) -> str:
    """Write images and labels, to learn from and for the test, as files of NumPy's; tell which.

    A process that reads them needs no other library than its own.

    Args:
        folder: Where to, a file for each of `NAMES`.
        count: How many images to learn from, and a sixth of them for the test; None: all.
    """
    mnist = _mnist()
    (x, y), (x_test, y_test) = mnist or _digits()
    sixth = None if count is None else -(-count // 6)
    arrays = (x[:count, ..., None], y[:count], x_test[:sixth, ..., None], y_test[:sixth])
    for name, array in zip(NAMES, arrays, strict=True):
        np.save(folder / name, array if array.ndim > 1 else array.astype(np.int32))
    source = "MNIST" if mnist else "small digits, since AUTODAN_DATA names no folder with MNIST"
    size = sum(array.nbytes for array in arrays[::2]) / 1e6
    return f"{len(arrays[0]):,} images of {source} ({len(arrays[2]):,} for the test; {size:.0f} MB)"


def _mnist() -> tuple[Split, Split] | None:
    import os

    if not os.environ.get("AUTODAN_DATA"):
        return None
    from autodan.datasets import mnist

    (x, y), (x_test, y_test) = mnist.load_data()
    return (x.astype(np.float32) / 255, y), (x_test.astype(np.float32) / 255, y_test)


def _digits() -> tuple[Split, Split]:
    from autodan.datasets import digits

    def enlarged(split: Split) -> Split:
        x = split[0].astype(np.float32) / 16
        x = np.kron(x, np.ones((1, 3, 3), np.float32))
        return np.pad(x, ((0, 0), (2, 2), (2, 2))), split[1]

    train, test = digits.load_data()
    return enlarged(train), enlarged(test)
