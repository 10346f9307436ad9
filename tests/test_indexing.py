"""`t[key]` and `t[key] = value` against NumPy's, and the gradient of picking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodan as ad
from autodan.testing import arrays, shapes, views


def grid(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


@st.composite
def keys(draw, shape):
    """Draw a key of integers, slices, None, an ellipsis, at most one mask, and arrays."""
    advanced = draw(st.booleans())
    places = draw(st.sampled_from(((), (2,), (2, 1), (0,))))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    key, axis = [], 0
    while axis < len(shape) and draw(st.integers(0, 9)) < 8:
        side = shape[axis]
        kind = draw(st.sampled_from(("slice", "integer", "none", "array", "mask")))
        if kind == "none":
            key.append(None)
            continue
        if kind == "integer" and side:
            key.append(draw(st.integers(-side, side - 1)))
        elif kind == "array" and advanced and (side or 0 in places):
            key.append(rng.integers(-side, max(side, 1 - side), places))
        elif kind == "mask" and advanced and not any(isinstance(k, np.ndarray) for k in key):
            key.append(rng.integers(0, 2, side).astype(bool))
            places = (int(key[-1].sum()),)
        else:
            bounds = st.none() | st.integers(-side - 2, side + 2)
            step = draw(st.sampled_from((None, 1, -1, 2, -3, 100)))
            key.append(slice(draw(bounds), draw(bounds), step))
        axis += 1
    if draw(st.booleans()):
        # Masks fit the axes that they were drawn for, which an ellipsis ahead of them would shift.
        fits = axis == len(shape) or not any(getattr(k, "dtype", None) == "bool" for k in key)
        key.insert(draw(st.integers(0 if fits else len(key), len(key))), Ellipsis)
    return key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


def sides():
    return shapes(max_dims=4, max_size=200, sides=(1, 2, 3, 0, 7, 9))


@given(st.data())
def test_getitem_is_numpys(data):
    view = data.draw(sides().flatmap(views))
    base = np.arange(np.prod(view.base), dtype="float32").reshape(view.base)
    x, t = view(base), view(ad.tensor(base))
    key = data.draw(keys(x.shape))
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises(IndexError):
            t[key]
        return
    actual = t[key]
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual.numpy(), expected)


@given(st.data())
def test_setitem_is_numpys(data):
    shape = data.draw(sides())
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    t = ad.tensor(x)
    before = t[...]
    key = data.draw(keys(x.shape))
    try:
        target = x[key].shape
    except IndexError:
        with pytest.raises(IndexError):
            t[key] = 0.0
        return
    dropped = data.draw(st.integers(0, len(target)))
    value = data.draw(st.sampled_from((-1.0, "array", "ones")))
    if value == "array":
        value = -np.arange(1, 1 + np.prod(target[dropped:]), dtype="float32").reshape(
            target[dropped:]
        )
    elif value == "ones":
        value = -np.ones((1,) * len(target[dropped:]), "float32")
    untouched = x.copy()
    x[key] = value
    t[key] = value
    np.testing.assert_array_equal(t.numpy(), x)
    np.testing.assert_array_equal(before.numpy(), untouched)


@given(st.data())
def test_gradients_flow_through_getitem(data):
    shape = data.draw(sides())
    x = data.draw(arrays(shape))
    t = ad.tensor(x, requires_grad=True)
    key = data.draw(keys(shape))
    try:
        x[key]
    except IndexError:
        return
    y = t[key]
    weights = np.random.default_rng(0).normal(size=y.shape)
    y.backward(ad.tensor(weights))
    places = np.arange(x.size).reshape(shape)[key]
    expected = np.bincount(np.ravel(places), np.ravel(weights), x.size).reshape(shape)
    np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_indexing_with_tensors():
    t = ad.tensor(grid(3, 4))
    assert t[ad.tensor([2, 0])].tolist() == grid(3, 4)[[2, 0]].tolist()
    assert t[t > 5].tolist() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert t[ad.tensor(1)].tolist() == [4.0, 5.0, 6.0, 7.0]
    t[t > 5] = 0
    assert t.sum().item() == 15
    assert [1, 2, 3][ad.tensor(1)] == 2


@pytest.mark.parametrize(
    ("key", "exception", "message"),
    [
        (3, IndexError, "index 3 is out of bounds for axis 0 of 3 elements"),
        ((0, -5), IndexError, "index -5 is out of bounds for axis 1 of 4 elements"),
        ((0, 0, 0), IndexError, "3 indices for a tensor of 2 dimensions"),
        ((..., ...), IndexError, "only have one ellipsis"),
        (([0, 3],), IndexError, "index 3"),
        (([0, 1], [0, -5]), IndexError, "index -5 is out of bounds for an axis of 4 elements"),
        (([0], [-(2**63)]), IndexError, "index -9223372036854775808 is out of bounds"),
        (([0, 1], [0, 1, 2]), IndexError, r"shapes \(2,\) and \(3,\) do not broadcast"),
        (2**63 - 1, IndexError, "index 9223372036854775807 is out of bounds"),
        (2**70, IndexError, "index 1180591620717411303424 is out of bounds"),
        (-(2**63), IndexError, "index -9223372036854775808 is out of bounds"),
        ([2**63 - 1], IndexError, "index 9223372036854775807 is out of bounds"),
        ([[True, False]], IndexError, r"mask of shape \(1, 2\) does not fit"),
        (np.ones((2, 4), bool), IndexError, r"mask of shape \(2, 4\) does not fit"),
        (0.5, (IndexError, TypeError), "."),
        ("x", (IndexError, TypeError), "."),
        (slice(None, None, 0), ValueError, "zero"),
    ],
    ids=repr,
)
def test_wrong_indices(key, exception, message):
    t = ad.tensor(grid(3, 4))
    with pytest.raises(exception, match=message):
        t[key]
    with pytest.raises(exception, match=message):
        t[key] = 0.0
    assert t.tolist() == grid(3, 4).tolist()


@pytest.mark.parametrize("step", [2**62, 2**63 - 1, 2**63, 2**80])
def test_slices_beyond_all_memory_are_numpys(step):
    x = grid(3, 4)
    edges = (None, 0, 1, -1, step, -step)
    for start in edges:
        for stop in edges:
            for stride in (step, -step):
                key = (slice(start, stop, stride), slice(stop, start, -1))
                t = ad.tensor(x, requires_grad=True)
                np.testing.assert_array_equal(t[key].numpy(), x[key])
                t[key].sum().backward()
                assert t.grad.numpy().sum() == x[key].size
                written, expected = ad.tensor(x), x.copy()
                written[key], expected[key] = -1, -1
                np.testing.assert_array_equal(written.numpy(), expected)


def test_wrong_values_to_assign():
    t = ad.tensor(grid(3, 4))
    with pytest.raises(ValueError, match=r"\(5,\).*\(4,\)"):
        t[0] = np.ones(5)
    x = ad.tensor([1.0], requires_grad=True)
    for target, value in ((x, 0.0), (ad.tensor([1.0]), x)):
        with pytest.raises(ValueError, match="cannot assign into or from a tensor that requires"):
            target[0] = value
    with ad.no_grad():
        t[0] = x
    assert t[0].tolist() == [1.0] * 4
    assert t[1:].tolist() == grid(3, 4)[1:].tolist()


def test_assigned_numbers_take_the_dtype_of_the_tensor_exactly():
    t = ad.zeros((2,), "float64")
    t[0] = 0.1
    assert t[0].item() == 0.1
    n = ad.zeros((2,), "int64")
    n[0] = 2**53 + 1
    n[1] = 1.9
    assert n.tolist() == [2**53 + 1, 1]
    b = ad.zeros((2,), "uint8")
    with pytest.raises(OverflowError, match="300"):
        b[0] = 300
    assert b.tolist() == [0, 0]
