"""`to_categorical` and `normalize`, which prepare labels and inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autodan.utils.numerical import normalize, to_categorical

labels = hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(0, 6))


@given(labels)
def test_one_hot_vectors_say_the_label(x: np.ndarray) -> None:
    result = to_categorical(x, num_classes=7)
    squeezed = x[..., 0] if x.ndim > 1 and x.shape[-1] == 1 else x
    assert result.shape == (*squeezed.shape, 7) and result.dtype == np.float64
    np.testing.assert_array_equal(result.argmax(axis=-1), squeezed)
    np.testing.assert_array_equal(result.sum(axis=-1), 1)


def test_the_number_of_classes_is_taken_from_the_labels() -> None:
    assert to_categorical([[3], [1]]).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    assert to_categorical([2.0, 0.0]).shape == (2, 3)
    assert to_categorical(1).tolist() == [0, 1]
    assert to_categorical([], num_classes=2).shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "num_classes", "message"),
    [
        ([0, 3], 3, r"label 3 is not in 0 to 2 \(num_classes=3\)"),
        ([-1, 0], None, "label -1 is not in 0 to 0"),
        ([0.5], None, "whole numbers"),
        ([float("nan")], 2, "whole numbers"),
        ([], None, "no labels; pass num_classes"),
    ],
)
def test_bad_labels_are_refused(x: list[float], num_classes: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_categorical(x, num_classes)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_norms_become_one(axis: int, order: float) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    result = normalize(x, axis, order)
    assert result.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(result, order, axis), 1, rtol=1e-6)


def test_zeros_stay_zeros_and_integers_become_floats() -> None:
    assert normalize(np.array([[3, 4], [0, 0]], np.uint8)).tolist() == [[0.6, 0.8], [0, 0]]
