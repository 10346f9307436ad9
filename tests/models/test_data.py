"""The way from arrays to batches: nothing is copied whole, structures are kept."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import _core
from autodan.models import data


def test_arrays_are_kept_and_only_batches_are_cast():
    for dtype in ("uint8", "float64", "float32"):
        array = np.arange(12).reshape(6, 2).astype(dtype)
        rows = data.make_rows("x", array, "float32")
        assert rows.array is array
        batch = rows.batch(0, 2, ad.tensor([4, 1, 0, 2, 3, 5]))
        assert batch.dtype == ("uint8" if dtype == "uint8" else "float32")
        np.testing.assert_array_equal(batch.numpy(), array[[4, 1]])
        assert np.shares_memory(rows.select(slice(2, 4)).array, array)


def test_a_batch_does_not_change_with_its_array():
    array = np.zeros((4, 2), "float32")
    rows = data.make_rows("x", array, "float32")
    batches = [rows.batch(0, 2), rows.batch(0, 2, ad.tensor([3, 2, 1, 0]))]
    array[:] = 7.0
    for batch in batches:
        assert batch.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    # The next batch sees what the array holds now.
    assert rows.batch(0, 1).tolist() == [[7.0, 7.0]]


INTEGERS = ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "bool", ">i8"]
FLOATS = ["float16", "float32", "float64", "longdouble", ">f4", ">f8"]
ORDERS = [None, [4, 0, 3, 1, 2, 5]]


@pytest.mark.parametrize("order", ORDERS, ids=["in order", "shuffled"])
@pytest.mark.parametrize("layout", ["C", "F", "stepped", "reversed", "broadcast", "unaligned"])
@pytest.mark.parametrize(
    "dtype",
    [*INTEGERS, *FLOATS],
)
def test_batches_of_every_dtype_and_layout(dtype, layout, order):
    values = (np.arange(6 * 4 * 3) % 7).reshape(6, 4, 3).astype(dtype)
    if layout == "F":
        values = np.asfortranarray(values)
    elif layout == "stepped":
        values = np.repeat(np.repeat(values, 2, 0), 3, 2)[::2, :, ::3]
    elif layout == "reversed":
        values = np.ascontiguousarray(values[::-1, :, ::-1])[::-1, :, ::-1]
    elif layout == "broadcast":
        values = np.broadcast_to(values[:, :1], (6, 4, 3))
    elif layout == "unaligned":
        memory = np.empty(values.nbytes + 1, "uint8")[1:].view(values.dtype)
        memory = memory.reshape(values.shape)
        memory[...] = values
        values = memory
    rows = data.make_rows("x", values, "float32")
    stand_ins = {"int8": "int32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}
    name = values.dtype.name
    want = "float32" if values.dtype.kind == "f" else stand_ins.get(name, name)
    batch = rows.batch(1, 5, None if order is None else ad.tensor(order))
    assert batch.dtype == want
    expected = values[1:5] if order is None else values[order[1:5]]
    np.testing.assert_array_equal(batch.numpy(), expected.astype(want))


def test_values_are_cast_as_the_core_casts():
    values = np.array([[1e300, -1e300, np.nan], [1e-42, 0.1, -0.0]])
    batch = data.make_rows("x", values, "float32").batch(0, 2, ad.tensor([1, 0]))
    expected = ad.cast(ad.tensor(values), "float32").numpy()[[1, 0]]
    assert batch.numpy().tobytes() == expected.tobytes()
    single = values[1:].astype("float32")
    doubled = data.make_rows("x", single, "float64").batch(0, 1)
    np.testing.assert_array_equal(doubled.numpy(), single.astype("float64"))


def test_an_array_in_a_file(tmp_path):
    values = np.arange(50_000, dtype="uint8").reshape(500, 100)
    values.tofile(tmp_path / "x")
    x = np.memmap(tmp_path / "x", "uint8", "r", shape=values.shape)
    order = np.random.default_rng(1).permutation(500)
    batch = data.make_rows("x", x, "float32").batch(10, 300, ad.tensor(order))
    np.testing.assert_array_equal(batch.numpy(), values[order[10:300]])


def test_an_epoch_has_every_row_once_in_the_order_drawn():
    x = np.arange(103.0)
    source = data.make_data(x, 2 * x, batch_size=10, shuffle=ad.random.SeedGenerator(3))
    epochs = []
    for _ in range(2):
        batches = list(source.batches())
        assert [len(batch[0]) for batch in batches] == [10] * 10 + [3]
        rows, labels = (np.concatenate([b[i].numpy() for b in batches]) for i in range(2))
        np.testing.assert_array_equal(labels, 2 * rows)
        assert sorted(rows) == sorted(x)
        epochs.append(rows.tolist())
    orders = [_core.random_permutation(103, 3, epoch).tolist() for epoch in range(2)]
    assert epochs == orders


def test_rows_that_do_not_exist():
    x = ad.tensor([[1.0], [2.0]])
    for start, stop in [(0, 3), (2, 1), (3, 3)]:
        with pytest.raises(IndexError, match=f"rows {start} to {stop} of 2 do not exist"):
            _core.gather_rows(x, None, start, stop, "float32")
    for number in (-1, 2):
        with pytest.raises(IndexError, match=f"row {number} does not exist; there are 2 rows"):
            _core.gather_rows(x, ad.tensor([0, number]), 0, 2, "float32")
    with pytest.raises(TypeError, match="an order of int64, got float32"):
        _core.gather_rows(x, ad.tensor([0.0]), 0, 1, "float32")
    with pytest.raises(ValueError, match="has no rows"):
        _core.gather_rows(ad.tensor(1.0), None, 0, 0, "float32")


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
