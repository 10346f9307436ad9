"""The way from arrays to batches: nothing is copied whole, structures are kept."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan.models import data


def test_arrays_are_kept_and_only_batches_are_cast():
    for dtype in ("uint8", "float64", "float32"):
        array = np.arange(12).reshape(6, 2).astype(dtype)
        rows = data.make_rows("x", array, "float32")
        assert rows.array is array
        batch = rows[np.array([4, 1])]
        assert batch.dtype == ("uint8" if dtype == "uint8" else "float32")
        np.testing.assert_array_equal(batch.numpy(), array[[4, 1]])
        assert np.shares_memory(rows.select(slice(2, 4)).array, array)


def test_a_batch_does_not_change_with_its_array():
    array = np.zeros((4, 2), "float32")
    batch = data.make_rows("x", array, "float32")[0:2]
    array[:] = 7.0
    assert batch.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_layouts_of_arrays(order):
    array = np.arange(24.0, dtype="float32").reshape(6, 4)
    x = {"C": array, "F": np.asfortranarray(array), "strided": np.repeat(array, 2, 0)[::2]}[order]
    batches = list(data.make_data(x, batch_size=4).batches())
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in batches]), array)


def test_big_endian_arrays():
    x = np.arange(6.0).reshape(3, 2).astype(">f8")
    (batch,) = data.make_data(x).first()
    assert batch.dtype == "float32"
    np.testing.assert_array_equal(batch.numpy(), x)


def test_structures_are_kept():
    x = {"a": np.zeros((5, 2)), "b": [np.ones(5), np.zeros((5, 1, 1))]}
    source = data.make_data(x, np.arange(5), batch_size=2)
    first = source.first()
    assert {key for key in first[0]} == {"a", "b"}
    assert first[0]["b"][1].shape == (2, 1, 1)
    assert [len(batch[1]) for batch in source.batches()] == [2, 2, 1]
    a, b = data.make_data([np.zeros((4, 1)), np.ones((4, 2))]).first()[0]
    assert (a.shape, b.shape) == ((4, 1), (4, 2))


def test_a_list_of_numbers_is_one_array():
    (batch,) = data.make_data([[1.0, 2.0], [3.0, 4.0]]).first()
    assert batch.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    (batch, labels) = data.make_data([[1.0], [2.0]], [0, 1]).first()
    assert (batch.shape, labels.dtype) == ((2, 1), "int64")


def test_data_frames_and_series():
    class Frame:
        """What has `__array__`, as pandas's frames do."""

        def __array__(self, dtype=None, copy=None):
            return np.arange(6.0).reshape(3, 2)

    (batch,) = data.make_data(Frame()).first()
    assert batch.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_weights_of_classes():
    one_hot = np.eye(3)[[0, 2, 1]]
    assert data.weights_of_classes(one_hot, {0: 0.5, 2: 3.0}).tolist() == [0.5, 3.0, 1.0]
    column = np.array([[0], [2]])
    assert data.weights_of_classes(column, {0: 0.5, 2: 3.0}).tolist() == [0.5, 3.0]


def test_unpack():
    assert data.unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    assert data.unpack_x_y_sample_weight((1, 2, 3)) == (1, 2, 3)
    assert data.unpack_x_y_sample_weight(5) == (5, None, None)
    with pytest.raises(ValueError, match="Received a tuple of 4 entries"):
        data.unpack_x_y_sample_weight((1, 2, 3, 4))
    assert ad.utils.unpack_x_y_sample_weight is data.unpack_x_y_sample_weight


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="`x` has dtype complex128; expected numbers"):
        data.make_data(np.zeros((2, 2), "complex128"))
