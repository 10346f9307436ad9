"""Tensors as values: construction, memory, copy on write, NumPy's protocols, dtypes, text."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

import autodan as ad
from autodan import _core, ops
from autodan.testing import arrays, shapes

DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
NUMBERS = DTYPES[1:]
few = settings(max_examples=max(settings().max_examples // 2, 1))


def grid(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


# -- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        (3, "int64"),
        (True, "bool"),
        ([1.0, 2.0], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ([True, False], "bool"),
        ([1, 2.5], "float32"),
        ([], "float32"),
        ((1.0, 2.0), "float32"),
        (range(3), "int64"),
        (np.float64(0.1), "float64"),
        (np.float32(0.1), "float32"),
        (np.uint8(3), "uint8"),
        ([np.float64(0.1)], "float64"),
        (np.zeros(2, "float16"), "float32"),
        (np.zeros(2, "int8"), "int32"),
        (np.zeros(2, "uint16"), "int32"),
        (np.zeros(2, "uint32"), "int64"),
        (np.zeros(2, ">f4"), "float32"),
        (np.zeros(2, np.dtype("f4").newbyteorder("<")), "float32"),
    ],
    ids=repr,
)
def test_the_dtype_follows_the_data(data, dtype):
    for make in (_core.tensor, ad.asarray, ops.array, ops.convert_to_tensor):
        t = make(data)
        assert (t.dtype, t.shape) == (dtype, np.shape(data))
        np.testing.assert_array_equal(t.numpy(), np.asarray(data, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_dtype_and_layout_come_in_and_go_out(dtype):
    x = (grid(3, 4) % 2 if dtype == "bool" else grid(3, 4)).astype(dtype)
    for array in (
        x,
        x.T,
        x[::-1, ::2],
        np.asfortranarray(x),
        x[:0],
        x[1, 1],
        np.broadcast_to(x[0], (3, 4)),
    ):
        t = ad.tensor(array)
        assert (t.dtype, t.shape, t.ndim, t.size) == (dtype, array.shape, array.ndim, array.size)
        np.testing.assert_array_equal(t.numpy(), array)
        assert t.numpy().dtype == dtype
        assert t.tolist() == array.tolist()


def test_doubles_asked_for_are_kept():
    for t in (
        ad.tensor(0.1, "float64"),
        ad.tensor([0.1], dtype="float64")[0],
        ops.array([0.1], "float64")[0],
        ad.full((1,), 0.1, "float64")[0],
        ad.tensor(np.array(0.1)),
    ):
        assert t.item() == 0.1


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), float, "float"])
def test_dtype_arguments(dtype):
    assert ad.tensor([1], dtype).dtype == "float32"


@pytest.mark.parametrize(
    ("make", "exception", "message"),
    [
        (lambda: ad.tensor("text"), TypeError, "cannot make a tensor of <U4"),
        (lambda: ad.tensor(None), TypeError, "cannot make a tensor of object"),
        (lambda: ad.tensor([[1.0], [2.0, 3.0]]), ValueError, "cannot make a tensor of list"),
        (lambda: ad.tensor([1.0], "float16"), TypeError, "'float16' is not a supported dtype"),
        (lambda: ad.tensor(2**63), OverflowError, "does not fit 64 bits"),
        (lambda: ad.tensor([1], requires_grad=True), Exception, "int64"),
        (lambda: ops.convert_to_tensor([1.0], sparse=True), ValueError, "sparse"),
    ],
)
def test_what_is_no_tensor_is_refused(make, exception, message):
    with pytest.raises(exception, match=message):
        make()


def test_shape_size_and_is_tensor():
    assert ops.shape(ad.zeros((2, 3))) == (2, 3)
    assert ops.size(ad.zeros((2, 3))) == 6
    assert ops.is_tensor(ad.zeros(())) and ops.is_tensor(ad.Variable(0.0))
    assert not ops.is_tensor(np.zeros(()))
    np.testing.assert_array_equal(ops.convert_to_numpy(ad.arange(3)), [0, 1, 2])
    np.testing.assert_array_equal(ops.convert_to_numpy([1, 2]), [1, 2])


# -- memory --------------------------------------------------------------------------------------


def test_a_tensor_is_a_copy_of_its_data():
    x = grid(3)
    for t in (ad.tensor(x), ad.asarray(x), ad.asarray(x, copy=True)):
        x[0] = 9
        assert t[0].item() == 0
        x[0] = 0


def test_borrowed_memory_is_shared_and_kept_alive():
    x = grid(3, 4)
    watch = weakref.ref(x)
    for view in (x, x.T, x[::-1, ::2], x[1:, 1:]):
        t = ad.asarray(view, copy=False)
        np.testing.assert_array_equal(t.numpy(), view)
        assert np.shares_memory(t.numpy(), x)
    x[2, 3] = 99
    assert ad.asarray(x, copy=False)[2, 3].item() == 99
    t = ad.asarray(x, copy=False)
    del x, view
    gc.collect()
    assert watch() is not None
    assert t[2, 3].item() == 99
    del t
    gc.collect()
    assert watch() is None


@pytest.mark.parametrize("name", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_dtypes_that_are_not_the_objects_of_numpy_itself(name):
    own = np.dtype(name)
    for dtype in (np.dtype(name, metadata={"unit": "m"}), pickle.loads(pickle.dumps(own))):
        x = np.array([0, 1, 3], dtype)
        assert ad.asarray(x).dtype == name
        np.testing.assert_array_equal(ad.asarray(x).numpy(), x.astype(own))
        if name != "bool":
            assert np.shares_memory(ad.asarray(x, copy=False).numpy(), x)


def test_what_cannot_be_borrowed_is_refused():
    for data in ([1.0], np.zeros(2, "float16"), np.zeros(2, ">f4"), 1.0):
        with pytest.raises(ValueError, match=r"asarray: .*without a copy"):
            ad.asarray(data, copy=False)
    with pytest.raises(ValueError, match="asarray: "):
        ad.asarray(np.zeros(2, "float32"), dtype="float64", copy=False)


def test_borrowed_memory_is_copied_when_the_tape_saves_it():
    x = np.array([1.0, 2.0])
    w = ad.tensor(np.array([3.0, 4.0]), requires_grad=True)
    y = (w * ad.asarray(x, copy=False)).sum()
    x[:] = 100
    y.backward()
    assert w.grad.tolist() == [1.0, 2.0]


def test_writing_to_a_borrowing_tensor_leaves_the_array_alone():
    x = grid(3)
    t = ad.asarray(x, copy=False)
    t[0] = 7
    assert x[0] == 0
    assert t.tolist() == [7.0, 1.0, 2.0]


def test_numpy_shares_memory_and_is_read_only():
    t = ad.tensor(grid(2, 3))
    a, b = t.numpy(), np.asarray(t)
    assert np.shares_memory(a, b)
    for view in (a, b, t.T.numpy(), t[0].numpy()):
        assert not view.flags.writeable
        assert np.shares_memory(view, a)
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 1
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        a.flags.writeable = True
    copied = np.array(t)
    copied[...] = 1
    assert t[0, 1].item() == 1.0 and t[0, 2].item() == 2.0


def test_numpy_outlives_its_tensor_and_keeps_its_values():
    t = ad.tensor(grid(1000))
    a = t.numpy()
    t[:] = -1
    assert (a == grid(1000)).all()
    del t
    gc.collect()
    for _ in range(4):
        ad.full((1000,), 5.0)
    assert (a == grid(1000)).all()
    part = ad.tensor(grid(10)).numpy()[3:5]
    gc.collect()
    assert part.tolist() == [3.0, 4.0]


def test_the_buffer_protocol():
    for dtype, code in zip(DTYPES, "?Biqfd", strict=True):
        t = ad.ones((2, 3), dtype).T
        view = memoryview(t)
        assert (view.shape, view.format, view.readonly) == ((3, 2), code, True)
        assert view.strides == t.numpy().strides
    assert memoryview(ad.zeros((0, 3))).nbytes == 0


# -- values: copy on write -----------------------------------------------------------------------


def test_views_do_not_see_writes():
    t = ad.tensor(grid(2, 3))
    whole, row, turned = t[:], t[0], t.T
    t[0, 0] = 9
    assert t[0, 0].item() == 9
    for other in (whole[0, 0], row[0], turned[0, 0]):
        assert other.item() == 0
    row[1] = 8
    assert t[0, 1].item() == 1


def test_in_place_operators_rebind():
    t = ad.tensor([1.0])
    other = t
    t += 1
    assert (t.item(), other.item()) == (2.0, 1.0)


def test_a_write_in_place_keeps_the_memory_when_nobody_else_holds_it():
    t = ad.tensor(grid(1000))
    address = t.numpy().ctypes.data
    t[0] = 5
    assert t.numpy().ctypes.data == address


def test_a_saved_tensor_is_not_changed_behind_the_tape():
    x = ad.tensor([2.0], requires_grad=True)
    factor = ad.tensor([3.0])
    y = x * factor
    factor[0] = 100.0
    y.sum().backward()
    assert x.grad.tolist() == [3.0]


def test_a_variable_written_to_leaves_what_was_read():
    v = ad.Variable([1.0, 2.0])
    value, array = v.value, v.numpy()
    v[0] = 9.0
    v.assign_add([1.0, 1.0])
    assert v.tolist() == [10.0, 3.0]
    assert value.tolist() == [1.0, 2.0]
    assert array.tolist() == [1.0, 2.0]


# -- scalars and text ----------------------------------------------------------------------------


def test_scalars():
    assert float(ad.tensor([[2.5]])) == 2.5
    assert int(ad.tensor(2.9)) == 2
    assert int(ad.tensor(2**62)) == 2**62
    assert isinstance(ad.tensor(True).item(), bool)
    assert isinstance(ad.tensor(1).item(), int)
    assert ad.tensor(2**62 + 1).item() == 2**62 + 1
    assert bool(ad.tensor([0.5])) and not bool(ad.tensor(0))
    assert operator.index(ad.tensor(3)) == 3
    for call, message in (
        (lambda: float(ad.zeros((2,))), r"\(2,\)"),
        (lambda: bool(ad.zeros((2,))), r"shape \(2,\) is ambiguous; use any\(\) or all\(\)"),
        (lambda: ad.zeros((0,)).item(), r"\(0,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="integer tensor of no dimensions"):
        operator.index(ad.tensor(1.0))


def test_iteration_length_and_containment():
    t = ad.tensor(grid(3, 2))
    assert len(t) == 3
    assert [row.tolist() for row in t] == grid(3, 2).tolist()
    assert 5.0 in t and 6.0 not in t
    a, b = ad.tensor([1, 2])
    assert (a.item(), b.item()) == (1, 2)
    for call in (len, iter):
        with pytest.raises(TypeError, match="no dimensions"):
            call(ad.tensor(1.0))


def test_repr_and_format():
    t = ad.tensor([[1.5, 2.0]])
    assert repr(t) == "tensor([[1.5, 2. ]], shape=(1, 2), dtype=float32)"
    t.requires_grad = True
    assert "requires_grad=True" in repr(t)
    assert "Variable" in repr(ad.Variable([1.0], name="w")) and "w" in repr(
        ad.Variable([1.0], name="w")
    )
    assert f"{ad.tensor(3.14159):.3f}" == "3.142"
    assert f"{ad.tensor([7]):04d}" == "0007"
    assert f"{t}" == str(t)
    with pytest.raises(TypeError, match=r"only a tensor of one element.*shape \(2,\)"):
        f"{ad.zeros((2,)):.2f}"


def test_hash_is_by_identity():
    a, b = ad.tensor([1.0]), ad.tensor([1.0])
    assert len({a, b, a}) == 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_deepcopy_and_pickle(duplicate):
    for dtype in DTYPES:
        for x in (np.ones((2, 3), dtype).T, np.ones((), dtype), np.ones((0, 2), dtype)):
            t = ad.tensor(x)
            other = duplicate(t)
            assert (other.dtype, other.shape) == (t.dtype, t.shape)
            np.testing.assert_array_equal(other.numpy(), x)
            assert not np.shares_memory(other.numpy(), t.numpy())
    x = ad.tensor([1.0], requires_grad=True)
    assert duplicate(x).requires_grad
    v = ad.Variable([1.0, 2.0], trainable=False, name="w")
    other = duplicate(v)
    assert isinstance(other, ad.Variable)
    assert (other.name, other.trainable, other.tolist()) == ("w", False, [1.0, 2.0])
    other.assign([0.0, 0.0])
    assert v.tolist() == [1.0, 2.0]


def test_copy_is_the_same_value():
    t = ad.tensor([1.0])
    other = copy.copy(t)
    other[0] = 2.0
    assert t.tolist() == [1.0] or other is t


# -- arithmetic: promotion and weak scalars ------------------------------------------------------

ORDER = {dtype: place for place, dtype in enumerate(DTYPES)}


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_arrays_promote(a, b):
    x, y = ad.ones((2,), a), ad.ones((2,), b)
    expected = max(a, b, key=ORDER.__getitem__)
    if expected != "bool":
        assert (x + y).dtype == (y * x).dtype == ad.maximum(x, y).dtype == expected
    assert (x / y).dtype == (expected if expected.startswith("float") else "float32")
    assert (x == y).dtype == (x < y).dtype == "bool"
    assert ad.where(x, x, y).dtype == expected
    assert ad.concatenate([x, y]).dtype == expected


@pytest.mark.parametrize("dtype", NUMBERS)
def test_python_and_numpy_scalars_are_weak(dtype):
    t = ad.ones((2,), dtype)
    floating = dtype if dtype.startswith("float") else "float32"
    for one in (1, True, np.int64(1), np.bool_(True)):
        assert (t + one).dtype == (one + t).dtype == dtype
    for half in (0.5, np.float64(0.5), np.float32(0.5)):
        assert (t + half).dtype == (half + t).dtype == (half * t).dtype == floating
        assert (t + half).tolist() == [1.5, 1.5]
    assert isinstance(np.float64(2.0) * t, ad.Tensor)


def test_a_weak_scalar_that_does_not_fit_is_refused():
    with pytest.raises(OverflowError, match="300 does not fit the tensor's dtype uint8"):
        ad.ones((1,), "uint8") + 300
    assert (ad.tensor([0.1], "float64") + 0.1).item() == 0.1 + 0.1


def test_arrays_on_either_side_give_tensors():
    t, x = ad.tensor(grid(3) + 2), grid(3) + 1
    for name in (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
    ):
        function = getattr(operator, name)
        for left, right in ((t, x), (x, t)):
            result = function(left, right)
            assert isinstance(result, ad.Tensor), name
            expected = function(np.asarray(left), np.asarray(right))
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    assert isinstance(x @ t, ad.Tensor) and isinstance(t @ x, ad.Tensor)
    x += t
    assert isinstance(x, (ad.Tensor, np.ndarray))


@few
@given(arrays(shapes(max_dims=2), 0.5, 4.0))
def test_operators_are_the_functions(x):
    t, other = ad.tensor(x), 1.5
    pairs = [
        (t + other, ad.add(t, other)),
        (other - t, ad.subtract(other, t)),
        (t * t, ad.multiply(t, t)),
        (other / t, ad.divide(other, t)),
        (t // other, ad.floor_divide(t, other)),
        (other % t, ad.mod(other, t)),
        (t**other, ad.power(t, other)),
        (other**t, ad.power(other, t)),
        (t**2, ad.square(t)),
        (-t, ad.negative(t)),
        (abs(t), ad.abs(t)),
        (t > other, ad.greater(t, other)),
        (other >= t, ad.less_equal(t, other)),
        ((t > 1) & (t < 2), ad.logical_and(t > 1, t < 2)),
        ((t > 1) | (t < 2), ad.logical_or(t > 1, t < 2)),
        ((t > 1) ^ (t < 2), ad.logical_xor(t > 1, t < 2)),
        (~(t > 1), ad.logical_not(t > 1)),
    ]
    for a, b in pairs:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_operands_that_are_no_tensors():
    class Other:
        def __radd__(self, other):
            return "other"

    t = ad.ones((2,))
    assert t + Other() == "other"
    for call in (lambda: t + object(), lambda: t < "text", lambda: t & 1.0, lambda: ~t):
        with pytest.raises(TypeError):
            call()
    assert (t == None) is False  # noqa: E711 - as any object's
    with pytest.raises(ValueError, match="modulus"):
        pow(t, 2, 3)


METHODS = {
    "sum": {"axis": 0},
    "mean": {"axis": -1, "keepdims": True},
    "max": {},
    "min": {"axis": (0, 1)},
    "prod": {},
    "var": {},
    "std": {"axis": 1},
    "any": {},
    "all": {"axis": 0},
    "argmax": {"axis": 1},
    "argmin": {},
    "exp": {},
    "log": {},
    "sqrt": {},
    "square": {},
    "abs": {},
    "sin": {},
    "cos": {},
    "tanh": {},
    "sigmoid": {},
    "relu": {},
    "squeeze": {},
    "expand_dims": {"axis": 1},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_functions(name):
    t, kwargs = ad.tensor(grid(3, 4) + 1), METHODS[name]
    a, b = getattr(t, name)(**kwargs), getattr(ad, name)(t, **kwargs)
    assert (a.dtype, a.shape, a.tolist()) == (b.dtype, b.shape, b.tolist())


def test_shape_methods():
    x = grid(2, 3, 4)
    t = ad.tensor(x)
    assert t.T.shape == (4, 3, 2) and t.mT.shape == (2, 4, 3)
    for a in (t.reshape(4, 6), t.reshape((4, 6)), t.reshape(-1, 6)):
        np.testing.assert_array_equal(a.numpy(), x.reshape(4, 6))
    for a in (t.transpose(2, 0, 1), t.transpose((2, 0, 1)), t.permute(2, 0, 1)):
        np.testing.assert_array_equal(a.numpy(), x.transpose(2, 0, 1))
    np.testing.assert_array_equal(t.swapaxes(0, -1).numpy(), x.swapaxes(0, -1))
    assert t.flatten().shape == t.ravel().shape == (24,)
    assert t.unsqueeze(0).shape == (1, 2, 3, 4)
    assert t.astype("int32").dtype == "int32"
    np.testing.assert_array_equal(t.clip(2, 5).numpy(), x.clip(2, 5))
    assert ad.tensor([1, 5]).clip(2, 4).dtype == ad.clip(ad.tensor([1, 5]), 2, 4).dtype == "int64"
    assert not np.shares_memory(t.clone().numpy(), t.numpy())
    with pytest.raises(ValueError, match=r"reshape: .*\(2, 3, 4\)"):
        t.reshape(5, 5)


def test_views_share_memory():
    t = ad.tensor(grid(4, 6))
    for view in (
        t.T,
        t[1:, ::2],
        t.reshape(2, 12),
        t[0],
        ad.flip(t),
        ad.broadcast_to(t, (3, 4, 6)),
        t.detach(),
    ):
        assert np.shares_memory(view.numpy(), t.numpy())
    assert not np.shares_memory(t.T.reshape(24).numpy(), t.numpy())


# -- NumPy's functions ---------------------------------------------------------------------------


def test_numpy_functions_give_arrays_of_the_values():
    t = ad.tensor(grid(2, 3))
    for result in (
        np.exp(t),
        np.concatenate([t, t]),
        np.mean(t, axis=0),
        np.where(t > 1, t, 0),
        np.sort(t),
    ):
        assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(np.add.reduce(t), grid(2, 3).sum(0))
    assert isinstance(np.add(grid(2, 3), t), ad.Tensor)
    out = np.zeros((2, 3), "float32")
    np.exp(t, out=out)
    np.testing.assert_array_equal(out, np.exp(grid(2, 3)))


def test_numpy_functions_refuse_to_lose_a_gradient():
    t = ad.tensor(grid(2), requires_grad=True)
    for call, name in ((lambda: np.exp(t), "exp"), (lambda: np.concatenate([t, t]), "concatenate")):
        with pytest.raises(TypeError, match=rf"numpy\.{name} .*autodan\.ops.*t\.numpy\(\)"):
            call()
    assert isinstance(grid(2) + t, ad.Tensor)


# -- limits --------------------------------------------------------------------------------------


def test_impossible_sizes_are_errors():
    for call in (lambda: ad.zeros((2**40, 2**40)), lambda: ad.ones((1,)).reshape(2**62, 2**62)):
        with pytest.raises(ValueError, match=r"address space|reshape"):
            call()
    with pytest.raises(MemoryError, match=r"cannot allocate \d+ bytes"):
        ad.zeros((2**50,))
    wide = ad.broadcast_to(ad.ones((1,)), (2**50,))
    assert wide.size == 2**50
    with pytest.raises(MemoryError, match="cannot allocate"):
        wide + 1


def test_many_dimensions():
    x = np.ones((1,) * 20 + (2,), "float32")
    t = ad.tensor(x)
    assert (t + t).sum().item() == 4
    assert t.T.shape == x.T.shape
