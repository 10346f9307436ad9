"""Digits: 1,797 handwritten digits of 8 by 8 pixels, part of the package.

E. Alpaydin, C. Kaynak: "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), https://archive.ics.uci.edu/dataset/80; CC BY 4.0. The repository's test set,
by 13 writers, as scikit-learn carries it. `data/README.md` says how the files were made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autodan.datasets import idx

__all__ = ["load_data"]

DATA = Path(__file__).parent / "data"
IMAGES_SHA256 = "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96"
LABELS_SHA256 = "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad"
TEST_EVERY = 5

Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load_data() -> tuple[Split, Split]:
    """Loads the digits, 1,437 for training and 360 for testing; needs no network.

    The split is always the same: in the list of samples sorted by digit, and within a digit in
    the original order, every fifth one is for testing. So each digit has its share of both
    parts, and both hold the hands of all writers. Both keep the original order.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, NumPy uint8: images (1437, 8, 8) and
        (360, 8, 8) from 0 to 16, labels (1437,) and (360,) from 0 to 9.

    Raises:
        FormatError: the installed files are damaged.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()
        >>> x_train.shape, y_train.shape, x_test.shape, y_test.shape
        ((1437, 8, 8), (1437,), (360, 8, 8), (360,))
        >>> x_train.max(), y_train[:5]
        (np.uint8(16), array([1, 3, 5, 6, 7], dtype=uint8))
    """
    images = idx.read(DATA / "digits-images-idx3-ubyte.gz", IMAGES_SHA256)
    labels = idx.read(DATA / "digits-labels-idx1-ubyte.gz", LABELS_SHA256)
    for_test = np.zeros(len(labels), dtype=bool)
    for_test[np.argsort(labels, kind="stable")[::TEST_EVERY]] = True
    return (images[~for_test], labels[~for_test]), (images[for_test], labels[for_test])
