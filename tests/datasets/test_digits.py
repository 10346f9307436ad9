"""The digits that come with the package."""

from __future__ import annotations

import hashlib

import numpy as np

from autodan.datasets import digits

# Samples of each digit, as UCI's description of the test set counts them.
UCI_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_shapes_and_values() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (1437, 8, 8) and x_test.shape == (360, 8, 8)
    assert y_train.shape == (1437,) and y_test.shape == (360,)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert x_train.max() == 16 and x_test.max() == 16


def test_the_counts_are_those_of_uci_and_the_split_is_even() -> None:
    (_, y_train), (_, y_test) = digits.load_data()
    train, test = np.bincount(y_train), np.bincount(y_test)
    assert (train + test).tolist() == UCI_COUNTS
    assert set(test) <= {35, 36, 37}


def test_the_split_never_changes() -> None:
    digest = hashlib.sha256()
    for images, labels in digits.load_data():
        digest.update(images.tobytes() + labels.tobytes())
    assert digest.hexdigest() == (
        "b086734a4c7e9fe9069104bd8f90442e31ebf255ae7dbec23a9030a760bdcc42"
    )


def test_training_and_test_samples_differ() -> None:
    (x_train, _), (x_test, _) = digits.load_data()
    train = {image.tobytes() for image in x_train}
    assert not any(image.tobytes() in train for image in x_test)


def test_the_arrays_may_be_written() -> None:
    (x_train, _), _ = digits.load_data()
    x_train[0] = 0
    assert digits.load_data()[0][0][0].any()
