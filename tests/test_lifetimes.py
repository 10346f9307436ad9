"""Who keeps memory alive, and whose values change: exports, borrowed arrays, copies, operands."""

from __future__ import annotations

import array
import copy
import gc
import hashlib
import io
import multiprocessing
import pickle
import threading
import weakref
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from opspecs import SPECS
from opspecs.spec import FLOATS
from strategies import cases

import autodan as ad
from autodan import _core, layers

rows = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
few = settings(max_examples=2)


def grid(*shape, dtype="float32"):
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


def held():
    gc.collect()
    return _core.memory_info()["tensors"]


def overwrite():
    """Use what is kept of freed memory again, with other values."""
    return [ad.full((1000,), -7.0) for _ in range(8)]


EXPORTS = {
    "numpy": lambda t: t.numpy(),
    "np.asarray": np.asarray,
    "view": lambda t: t.numpy()[::2][::-1],
    "memoryview": memoryview,
    "np.frombuffer": lambda t: np.frombuffer(t, "float32"),
    "of a view": lambda t: t[1:].numpy(),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_exports_outlive_their_tensor(export):
    before = held()
    t = ad.tensor(grid(1000))
    exported = EXPORTS[export](t)
    expected = np.array(exported)
    t[...] = 5.0
    assert np.array_equal(exported, expected)
    del t
    others = overwrite()
    assert np.array_equal(exported, expected)
    released = threading.Thread(target=lambda held=[exported]: held.clear())
    del exported, others
    released.start()
    released.join()
    del released
    assert held() == before


def test_exports_keep_what_training_changes():
    model = ad.Sequential([layers.Input((3,)), layers.Dense(2), layers.BatchNormalization()])
    model.compile("sgd", "mse")
    exports = [variable.numpy() for variable in model.variables]
    views = [variable.value[..., ::-1] for variable in model.variables]
    before = [export.copy() for export in exports]
    for _ in range(3):
        model.train_on_batch(grid(4, 3), np.ones((4, 2), "float32"))
    for variable, export, view, old in zip(model.variables, exports, views, before, strict=True):
        assert np.array_equal(export, old) and np.array_equal(view.numpy()[..., ::-1], old)
        assert not np.array_equal(variable.numpy(), old)


# -- the buffer protocol -------------------------------------------------------------------------


def read_into(t):
    file = io.BytesIO()
    file.write(t)
    return file.getvalue()


BYTES = {
    "hashlib": lambda t: hashlib.sha256(t).hexdigest(),
    "zlib": zlib.crc32,
    "file": read_into,
    "join": lambda t: b"".join([t]),
    "bytearray": lambda t: bytes(bytearray(memoryview(t).tobytes())),
}


@pytest.mark.parametrize("reader", BYTES)
def test_readers_of_bytes_see_the_elements_or_refuse(reader):
    x = grid(6, 4)
    for view in (x, x[1:3], x[:0], x.reshape(-1), np.float32(3).reshape(())):
        assert BYTES[reader](ad.tensor(view)) == BYTES[reader](np.array(view))
    t = ad.tensor(x)
    for view in (t.T, t[::2], t[::-1], t[:, 1], t.reshape(-1)[::-1], ad.broadcast_to(t, (2, 6, 4))):
        whole = np.array(view.numpy())
        try:
            read = BYTES[reader](view)
        except (BufferError, TypeError, ValueError):
            continue
        assert read == BYTES[reader](whole)


def test_what_a_consumer_does_not_ask_for_is_not_there():
    testbuffer = pytest.importorskip("_testbuffer", exc_type=ImportError)
    rows, columns = ad.tensor(grid(4, 6)), ad.tensor(grid(6, 4)).T
    gaps = ad.tensor(grid(8, 6))[::2]
    for flags, good, bad in (
        (testbuffer.PyBUF_SIMPLE, [rows], [columns, gaps]),
        (testbuffer.PyBUF_ND, [rows], [columns, gaps]),
        (testbuffer.PyBUF_STRIDES, [rows, columns, gaps], []),
        (testbuffer.PyBUF_C_CONTIGUOUS, [rows], [columns, gaps]),
        (testbuffer.PyBUF_F_CONTIGUOUS, [columns], [rows, gaps]),
        (testbuffer.PyBUF_ANY_CONTIGUOUS, [rows, columns], [gaps]),
        (testbuffer.PyBUF_WRITABLE, [], [rows, columns, gaps]),
    ):
        for t in good:
            buffer = testbuffer.ndarray(t, getbuf=flags | testbuffer.PyBUF_FORMAT)
            assert buffer.readonly and buffer.nbytes == 4 * t.size
        for t in bad:
            with pytest.raises(BufferError, match=r"a tensor's memory|this view|this tensor"):
                testbuffer.ndarray(t, getbuf=flags)


FOREIGN = {
    "bytes": b"\x01\x02\x03\x04",
    "bytearray": bytearray(b"\x01\x02\x03\x04"),
    "array": array.array("i", [1, 2, 3, 4]),
    "array of shorts": array.array("h", [1, 2, 3, 4]),
    "memoryview": memoryview(array.array("d", [1, 2, 3, 4])),
    "memoryview, steps": memoryview(array.array("q", range(8)))[1:5],
    "memoryview, cast": memoryview(bytes(range(1, 5))).cast("B", (2, 2)),
    "chars": memoryview(b"abcd").cast("c"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_buffers(name):
    data = FOREIGN[name]
    try:
        expected = np.asarray(data)
        numeric = expected.dtype.kind in "biuf"
    except Exception:
        numeric = False
    if not numeric:
        with pytest.raises((TypeError, ValueError)):
            ad.tensor(data)
        return
    t = ad.tensor(data)
    assert t.tolist() == expected.tolist()
    with pytest.raises(ValueError, match="without a copy"):
        ad.asarray(data, copy=False)


# -- borrowed memory -----------------------------------------------------------------------------


def misaligned(n):
    return np.frombuffer(bytes(4 * n + 1), "uint8")[1:].view("float32")


def test_arrays_of_every_layout_can_be_borrowed_or_are_refused():
    x = grid(4, 6)
    read_only = grid(4, 6)
    read_only.flags.writeable = False
    for borrowed in (x, x[::-1], x[:, ::-2], x.T, read_only, np.broadcast_to(x[0], (3, 6)), x[1:1]):
        expected = borrowed.copy()
        try:
            t = ad.asarray(borrowed, copy=False)
        except ValueError:
            assert borrowed.size == 0
            continue
        assert np.array_equal((t + 1).numpy(), expected + 1)
        t[...] = 9.0
        assert np.array_equal(borrowed, expected)
    for refused in (misaligned(4), x.astype(">f4"), x.astype("float16"), x[0].astype("O")):
        with pytest.raises(ValueError, match="without a copy"):
            ad.asarray(refused, copy=False)
    assert ad.tensor(misaligned(4)).tolist() == [0.0] * 4
    assert ad.tensor(x.astype(">f4")).tolist() == x.tolist()


def test_a_lender_cannot_be_resized_and_may_be_dropped():
    x = np.arange(1000.0)
    t = ad.asarray(x, copy=False)
    # Its memory is lent: to resize it would move it.
    with pytest.raises((ValueError, BufferError)):
        x.resize(2000)
    watch = weakref.ref(x)
    del x
    overwrite()
    assert t[-1].item() == 999.0 and watch() is not None
    thread = threading.Thread(target=lambda held=[t]: held.clear())
    del t
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert watch() is None


def test_what_was_computed_does_not_follow_the_lender():
    x = grid(10, dtype="float64")
    t = ad.asarray(x, copy=False)
    w = ad.tensor(grid(10, dtype="float64"), requires_grad=True)
    total, copied, variable = (w * t * t).sum(), t.clone(), ad.Variable(t)
    x[:] = 100.0
    assert t[3].item() == 100.0
    total.backward()
    assert w.grad.tolist() == (grid(10) ** 2).tolist()
    assert copied.tolist() == variable.tolist() == grid(10).tolist()
    variable.assign(t)
    x[:] = 0.0
    assert variable[3].item() == 100.0


def test_a_file_mapped_into_memory(tmp_path):
    path = tmp_path / "data"
    grid(100).tofile(path)
    mapped = np.memmap(path, "float32", "r")
    t = ad.asarray(mapped, copy=False)
    del mapped
    gc.collect()
    path.unlink()
    assert t.tolist() == grid(100).tolist()


# -- copies --------------------------------------------------------------------------------------

DUPLICATES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
    "pickle, protocol 5": lambda t: pickle.loads(pickle.dumps(t, 5)),
}


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_copies_of_views_are_values_of_their_own(duplicate):
    base = ad.tensor(grid(4, 6))
    for view in (
        base,
        base.T,
        base[::-1, 1::2],
        base[0, 0],
        base[:0],
        ad.broadcast_to(base[0], (3, 6)),
    ):
        expected = view.tolist()
        other = DUPLICATES[duplicate](view)
        assert other is not view and (other.dtype, other.tolist()) == (view.dtype, expected)
        other[...] = -1.0
        assert view.tolist() == expected
    assert base.tolist() == grid(4, 6).tolist()
    x = ad.tensor(grid(3), requires_grad=True)
    other = DUPLICATES[duplicate](x * 2)
    assert other.requires_grad and other.tolist() == [0.0, 2.0, 4.0]


def test_copies_of_variables_and_layers():
    v = ad.Variable(grid(3), name="w", trainable=False)
    assert copy.copy(v) is v
    layer = layers.Dense(2)
    layer.build((None, 3))
    for duplicate in (copy.deepcopy, DUPLICATES["pickle"]):
        other, other_layer = duplicate(v), duplicate(layer)
        other.assign([9, 9, 9])
        other_layer.set_weights([w + 1 for w in other_layer.get_weights()])
        assert v.tolist() == grid(3).tolist() and (other.name, other.trainable) == ("w", False)
        assert np.array_equal(other_layer.get_weights()[0], layer.get_weights()[0] + 1)
    shared = [v, v]
    assert (lambda pair: pair[0] is pair[1])(copy.deepcopy(shared))


def twice(t):
    return t * 2


def test_tensors_travel_between_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for t in (ad.tensor(grid(4, 6)).T[::-1], ad.tensor([True]), ad.Variable(grid(3))):
            assert pool.apply(twice, (t,)).tolist() == (t * 2).tolist()


def test_weak_references():
    for make in (lambda: ad.ones((3,)), lambda: ad.Variable([1.0])):
        t = make()
        watch, cache = weakref.ref(t), weakref.WeakValueDictionary({"t": t})
        assert watch() is t and cache["t"] is t
        del t
        assert watch() is None and not len(cache)


# -- values --------------------------------------------------------------------------------------


def many(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


@rows
def test_no_op_changes_its_operands(spec):
    @few
    @given(case=cases(spec, max_size=500))
    def check(case):
        dtypes = (*FLOATS, "int64", "bool")
        dtype = next(d for d in dtypes if isinstance(spec.dtypes.get(d), str))
        copies = [x.astype(dtype) for x in case.arrays(dtype)]
        lent = [x.copy() for x in copies]
        borrowed = [ad.asarray(x, copy=False) if x.size else ad.tensor(x) for x in lent]
        viewed = case.tensors(dtype)
        exports = [t.numpy() for t in viewed]
        for operands in (viewed, borrowed):
            for index, operand in enumerate(operands):
                if index in spec.gradients and dtype in FLOATS:
                    operand.requires_grad = True
            outputs = [y for y in many(spec.op(*operands, **case.kwargs))]
            for y in outputs:
                if y.requires_grad:
                    y.sum().backward(retain_graph=True)
            # Writing to a result, which may be a view, leaves the operands alone.
            for y in outputs:
                y = y.detach()
                if y.size:
                    y[...] = 0
            for operand, expected in zip(operands, copies, strict=True):
                assert operand.numpy().tobytes() == expected.tobytes()
        for export, array_, expected in zip(exports, lent, copies, strict=True):
            assert np.array(export).tobytes() == array_.tobytes() == expected.tobytes()

    check()


@pytest.mark.parametrize(
    "operator", ["iadd", "isub", "imul", "itruediv", "ipow", "ifloordiv", "imod"]
)
def test_in_place_operators_rebind(operator):
    import operator as operators

    t = ad.tensor(grid(3) + 1)
    alias, view, export = t, t[1:], t.numpy()
    u = getattr(operators, operator)(t, 2.0)
    assert u is not alias and alias is t
    assert t.tolist() == export.tolist() == [1.0, 2.0, 3.0] and view.tolist() == [2.0, 3.0]


def test_tensors_as_python_objects():
    t, other = ad.tensor([1.0, 2.0]), ad.tensor([1.0, 2.0])
    assert t in [t] and {t: 1}[t] == 1 and other not in {t}
    with pytest.raises(ValueError, match="ambiguous"):
        t in [other]  # noqa: B015
    with pytest.raises(ValueError, match="ambiguous"):
        [other].index(t)
    for name in ("no_such_attribute", "shape", "dtype", "T"):
        with pytest.raises(AttributeError):
            setattr(t, name, 1)
    for scalar in (ad.tensor(1.0), ad.Variable(2)):
        for call in (len, iter, list):
            with pytest.raises(TypeError):
                call(scalar)
    rows_ = iter(ad.tensor(grid(2, 2)))
    assert [next(rows_).tolist(), next(rows_).tolist()] == [[0.0, 1.0], [2.0, 3.0]]
    with pytest.raises(StopIteration):
        next(rows_)
    assert list(ad.zeros((0, 3))) == [] and [x.item() for x in t] == [1.0, 2.0]


def test_a_loop_sees_the_values_from_its_start():
    t = ad.tensor([1.0, 2.0, 3.0])
    seen = []
    for x in t:
        t[...] = 0.0
        seen.append(x.item())
    assert seen == [1.0, 2.0, 3.0]
