"""Depth, impossible sizes and leaks: what a process must survive, and give back."""

from __future__ import annotations

import copy
import gc
import itertools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import autodan as ad
from autodan import _core, layers, ops

DEEP = 30_000


def leaf(*shape):
    return ad.tensor(np.ones(shape, "float32"), requires_grad=True)


def on_a_small_stack(work):
    """Run `work` on a thread with a stack of 2 MB and return its result."""
    results, errors = [], []

    def run():
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    previous = threading.stack_size(2 << 20)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(previous)
    if errors:
        raise errors[0]
    return results[0]


def in_a_process(code, memory=None, timeout=120):
    """Run `code` in a fresh interpreter, perhaps with so many bytes more than it starts with."""
    prelude = f"""
import gc, resource, threading
import numpy as np
import autodan as ad
from autodan import _core, ops
_core.set_num_threads(2)
more = {memory}
if more is not None:
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""
    result = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, f"{result.returncode}: {result.stdout}{result.stderr}"
    return result.stdout.split()


def held():
    """Return the bytes of all tensors there are."""
    gc.collect()
    return _core.memory_info()["tensors"]


# -- depth ---------------------------------------------------------------------------------------

CELL = ad.Variable([1.0])
STEPS = {
    "unary": lambda y, x: ops.tanh(y),
    "binary": lambda y, x: y + x,
    "operand on both sides": lambda y, x: y * y,
    "views": lambda y, x: y.reshape(1, 1).T.reshape(1),
    "concatenate": lambda y, x: ops.concatenate([x, y])[1:],
    "where": lambda y, x: ops.where(y > 0, y, x),
    "matmul": lambda y, x: (y.reshape(1, 1) @ x.reshape(1, 1)).reshape(1),
    "take": lambda y, x: y[[0]],
    "variable": lambda y, x: y * CELL,
    "several outputs": lambda y, x: ops.split(ops.concatenate([y, x]), 2)[0],
}


@pytest.mark.parametrize("kind", STEPS)
def test_deep_chains_build_differentiate_and_drop_on_a_small_stack(kind):
    def work():
        x = leaf(1)
        y = middle = x
        for number in range(DEEP // 3):
            y = STEPS[kind](y, x)
            if number == DEEP // 6:
                middle = y
        y.sum().backward(retain_graph=True)
        del middle
        (gradient,) = _core.grad(y.sum(), [x])
        del y
        return x.grad.tolist(), gradient.tolist()

    first, second = on_a_small_stack(work)
    assert first == second


def test_a_deep_chain_of_views_keeps_one_storage():
    x = leaf(2, 3)
    before = held()
    y = x
    for _ in range(1000):
        y = y.T.reshape(2, 3)
        y = y.T.T
    assert held() - before <= 1000 * 64
    assert y.sum().item() == 6


def test_deep_graphs_of_gradients():
    def work():
        x = leaf(1)
        y = x
        for _ in range(DEEP // 3):
            y = ops.sin(y)
        (gradient,) = _core.grad(y.sum(), [x], None, False, True)
        (second,) = _core.grad(gradient.sum(), [x])
        return second.item()

    assert np.isfinite(on_a_small_stack(work))


def deep(x, number=DEEP):
    for _ in range(number):
        x = x * 1.0
    return x


def test_deep_graphs_are_dropped_in_any_order():
    def work():
        x = leaf(1)
        handles = [deep(x)]
        for _ in range(4):
            handles.append(deep(handles[-1], 1000))
        # The middle first, then the ends.
        for place in (2, 0, -1):
            del handles[place]
        thread = threading.Thread(target=handles.clear)
        thread.start()
        thread.join()

        class Holder:
            pass

        holder = Holder()
        holder.self, holder.graph = holder, deep(x)
        del holder
        gc.collect()
        try:
            y = deep(x)
            raise ValueError
        except ValueError as error:
            frames = error
        del y
        return frames

    del_me = on_a_small_stack(work)
    assert del_me.__traceback__ is not None
    on_a_small_stack(del_me.__traceback__.tb_frame.clear)


def test_deep_graphs_at_the_end_of_the_interpreter():
    in_a_process("""
        x = ad.tensor([1.0], requires_grad=True)
        for _ in range(100_000):
            x = x * 1.0
        array, borrowed = ad.ones((1000,)).numpy(), ad.asarray(np.ones(1000), copy=False)
        exported = memoryview(ad.ones((1000,)))
        cycle = [x, borrowed]
        cycle.append(cycle)

        def hold():
            inner = ad.asarray(np.ones(1000), copy=False), ad.ones((10,)).numpy(), x
            started.set()
            threading.Event().wait()

        started = threading.Event()
        threading.Thread(target=hold, daemon=True).start()
        started.wait()
    """)


def test_a_lender_may_look_at_the_tensor_that_gives_its_memory_back():
    in_a_process(
        """
        seen = []

        class Lender(np.ndarray):
            def __del__(self):
                seen.append(t.tolist())

        for change in (lambda: t.__setitem__(0, 5), lambda: setattr(t, "requires_grad", True)):
            t = ad.asarray(np.ones(3).view(Lender), copy=False)
            change()
        v = ad.Variable(np.zeros(3))
        t = v
        v.assign(ad.asarray(np.ones(3).view(Lender), copy=False))
        v.grad = ad.asarray(np.ones(3).view(Lender), copy=False)
        v.grad = None
        assert len(seen) == 4 and seen[0] == [5.0, 1.0, 1.0], seen
    """,
        timeout=30,
    )


def test_a_diamond_takes_linear_time():
    start = time.perf_counter()
    x = leaf(1)
    y = x
    for _ in range(64):
        y = y + y
    y.sum().backward()
    assert x.grad.item() == 2.0**64
    assert time.perf_counter() - start < 1
    y = x
    for _ in range(10_000):
        y = (y + y) * 0.5
    (gradient,) = _core.grad(y.sum(), [x])
    assert gradient.item() == 1.0


@pytest.mark.parametrize("join", [ops.concatenate, ops.stack, sum])
def test_wide_graphs(join):
    leaves = [leaf(1) for _ in range(20_000)]
    join(leaves).sum().backward()
    assert all(x.grad.item() == 1.0 for x in leaves[::1000])


def test_text_and_copies_of_what_has_a_deep_graph():
    y = deep(leaf(1))
    assert repr(y).startswith("tensor([1.]") and f"{y.sum():.1f}" == "1.0"
    for other in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        assert other.requires_grad and other.tolist() == [1.0]
        other.sum().backward()
        assert other.grad.tolist() == [1.0]


def nested(depth, kind=list):
    data = kind([1.0])
    for _ in range(depth):
        data = kind([data])
    return data


def endless(width):
    data = []
    data += [data] * width
    return data


@pytest.mark.parametrize(
    "data",
    [nested(40), nested(10_000), nested(40, tuple), endless(1), endless(2)],
    ids=["40", "10,000", "tuples", "itself", "itself twice"],
)
def test_lists_that_are_too_deep(data):
    x = ad.ones((3,))
    for call in (
        lambda: ad.tensor(data),
        lambda: ad.asarray(data),
        lambda: ad.tensor(data, dtype="float64"),
        lambda: ad.Variable(data),
        lambda: x + data,
        lambda: ad.zeros(data),
        lambda: x.reshape(data),
        lambda: ops.sum(x, axis=data),
        lambda: x[data],
        lambda: np.concatenate([x, data]),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()


def test_iterators_without_an_end():
    for call in (
        lambda: ad.zeros(itertools.count()),
        lambda: ops.sum(ad.zeros(3), axis=itertools.count()),
        lambda: ad.zeros(4).reshape(itertools.repeat(2)),
    ):
        with pytest.raises(ValueError, match="at most 64 integers"):
            call()
    for call in (lambda: ad.tensor(itertools.count()), lambda: ad.tensor(i for i in range(3))):
        with pytest.raises(TypeError, match="cannot make a tensor"):
            call()
    wide = ad.broadcast_to(ad.tensor(1.0), (2**40,))
    assert [next(iter(wide)).item() for _ in range(2)] == [1.0, 1.0]


# -- impossible sizes ----------------------------------------------------------------------------

ONE = ad.ones((1,))


def wide(*shape):
    return ad.broadcast_to(ONE, shape)


def numpy_wide(dtype, *shape):
    return np.broadcast_to(np.ones((), dtype), shape)


IMPOSSIBLE = {
    "zeros": lambda: ad.zeros((2**40,)),
    "zeros, overflow": lambda: ad.zeros((2**31, 2**31, 2**31)),
    "zeros, 65 bits": lambda: ad.zeros((2**64,)),
    "zeros, negative": lambda: ad.zeros((-1,)),
    "ones": lambda: ad.ones((2**40,), "uint8"),
    "full": lambda: ad.full((2**62,), 3),
    "eye": lambda: ad.eye(2**40),
    "eye, long": lambda: ad.eye(2**25),
    "arange": lambda: ad.arange(2**40),
    "arange, all": lambda: ad.arange(-(2**63), 2**63 - 1),
    "arange, floats": lambda: ad.arange(0.0, 1e300, 1e-300),
    "arange, steps": lambda: ad.arange(0.0, 1.0, 1e-30),
    "linspace": lambda: ad.linspace(0.0, 1.0, 2**63),
    "one_hot": lambda: ops.one_hot(ad.tensor([1, 2]), 2**62),
    "broadcast_to": lambda: wide(2**40, 2**40),
    "tile": lambda: ops.tile(ONE, (2**40, 2**40)) + 1,
    "pad": lambda: ops.pad(ONE, ((2**40, 0),)),
    "pad, overflow": lambda: ops.pad(ONE, ((2**63, 2**63),)),
    "outer": lambda: ops.outer(wide(2**35), wide(2**35)),
    "random": lambda: ad.random.normal((2**40, 2**3)),
    "random, overflow": lambda: ad.random.uniform((2**40, 2**40)),
    "reshape": lambda: ONE.reshape(2**62, -1),
    "reshape, overflow": lambda: ONE.reshape(2**31, 2**31, 2**2, -1),
    "concatenate": lambda: ops.concatenate([wide(2**59)] * 40),
    "stack": lambda: ops.stack([wide(2**59)] * 40),
    "matmul": lambda: wide(2**40, 1) @ wide(1, 2**40),
    "matmul, sums": lambda: wide(2**20, 2**30) @ wide(2**30, 2**20),
    "add": lambda: wide(2**31, 1) + wide(1, 2**31),
    "compare": lambda: wide(2**45) > 0,
    "where": lambda: ops.where(wide(2**45) > 0, 1.0, 2.0),
    "cast": lambda: wide(2**45).astype("int32"),
    "clone": lambda: wide(2**45).clone(),
    "deepcopy": lambda: copy.deepcopy(wide(2**45)),
    "pickle": lambda: pickle.dumps(wide(2**45)),
    "tolist": lambda: wide(2**50).tolist(),
    # Reductions copy what is not contiguous: they do not run for years.
    "sum": lambda: ops.sum(wide(2**59)),
    "argmax": lambda: ops.argmax(wide(2**59)),
    "in": lambda: 3.0 in wide(2**59),
    "cumsum": lambda: ops.cumsum(wide(2**50)),
    "softmax": lambda: ops.softmax(wide(2**45, 2)),
    "take": lambda: ops.take(ONE, ad.broadcast_to(ad.tensor([0]), (2**40,))),
    "mask": lambda: wide(2**40)[ad.broadcast_to(ad.tensor([True]), (2**40,))],
    "setitem": lambda: wide(2**45).__setitem__(0, 1.0),
    "setitem, value": lambda: ONE.__setitem__(0, wide(2**45)),
    "conv": lambda: ops.conv(wide(1, 2**20, 2**20, 1), ad.ones((1, 1, 1, 1))),
    "conv, filters": lambda: ops.conv(ad.ones((1, 4, 4, 1)), wide(2, 2, 1, 2**45)),
    "conv, kernel": lambda: ops.conv(
        ad.ones((1, 4, 4, 1)), wide(2**40, 2**20, 1, 1), padding="same"
    ),
    "conv, dilation": lambda: ops.conv(
        ad.ones((1, 4, 4, 1)), ad.ones((2, 2, 1, 1)), padding="same", dilation_rate=2**62
    ),
    "pool": lambda: ops.max_pool(wide(2**45, 2, 2, 1), 1),
    "numpy": lambda: ad.tensor(numpy_wide("float32", 2**50)),
    "numpy, bools": lambda: ad.tensor(numpy_wide("bool", 2**50)),
    "numpy, other dtype": lambda: ad.asarray(numpy_wide("float64", 2**58), dtype="float32"),
    "numpy, in a list": lambda: ad.tensor([numpy_wide("float32", 2**50)]),
    "numpy, borrowed": lambda: ad.asarray(numpy_wide("uint8", 2**62), copy=False),
    "Variable": lambda: ad.Variable(wide(2**45)).assign_add(ONE),
    "Dense": lambda: layers.Dense(10**12)(ad.ones((1, 10))),
    "Dense, 70 bits": lambda: layers.Dense(2**70)(ad.ones((1, 10))),
    "Conv2D": lambda: layers.Conv2D(2**40, 3)(ad.ones((1, 8, 8, 3))),
    "BatchNormalization": lambda: layers.BatchNormalization()(wide(2, 2**45)),
    "Dropout": lambda: layers.Dropout(0.5)(wide(2, 2**45), training=True),
    "Flatten": lambda: layers.Flatten()(wide(2, 2**30, 2**30)) + 1,
    "initializer": lambda: ad.initializers.GlorotUniform()((2**40, 2**10)),
    "initializer, 64 bits": lambda: ad.initializers.Zeros()((2**64,)),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_sizes_are_refused_at_once(name):
    start = time.perf_counter()
    before = held()
    with pytest.raises((MemoryError, ValueError)) as error:
        IMPOSSIBLE[name]()
    assert not isinstance(error.value, _core.InternalError)
    del error
    assert time.perf_counter() - start < 5
    assert held() == before
    assert (ad.ones((3,)) + 1).tolist() == [2.0] * 3


def test_empty_tensors_with_huge_sides():
    assert ad.zeros((0, 2**20)).reshape(-1).shape == (0,)
    assert ops.sum(wide(2**20)[:0].reshape(0, 1) + ad.zeros((0, 2**20)), axis=0).shape == (2**20,)
    assert (ad.zeros((2**20, 0)) @ ad.zeros((0, 8))).shape == (2**20, 8)
    for shape in ((0, 2**62), (2**62, 0), (2**31, 0, 2**31)):
        with pytest.raises(ValueError, match="address space"):
            ad.zeros(shape)


def test_huge_views_can_be_looked_at():
    view = wide(2**59)
    assert view.numpy().shape == (2**59,) and view[2**58].item() == 1.0
    assert repr(view).startswith("tensor([1., 1., 1., ...")
    assert memoryview(view).strides == (0,)
    borrowed = ad.asarray(numpy_wide("float32", 2**50), copy=False)
    assert borrowed[:: 2**49].tolist() == [1.0, 1.0]


LIMITED = """
def refused(work):
    try:
        work()
    except MemoryError:
        print("refused", flush=True)
    gc.collect()
    assert (ad.ones((3,)) + 1).tolist() == [2.0] * 3

def large():
    ad.ones((8000, 8000)) @ ad.ones((8000, 8000))

def many(shape):
    held = []
    while True:
        held.append(ad.ones(shape))

def graph(op):
    y = ad.tensor([[1.0]], requires_grad=True)
    while True:
        y = op(y)

def mask():
    # The mask fits, the places of its elements do not.
    ad.ones((25_000_000,))[ad.ones((25_000_000,), "bool")]

refused(large)
refused(lambda: many((1000,)))
refused(lambda: many((1,)))
refused(lambda: graph(ops.sin))
refused(lambda: graph(lambda y: y.T))
refused(mask)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "ASAN_OPTIONS" in os.environ,
    reason="needs a limited address space",
)
def test_a_process_that_runs_out_of_memory_goes_on():
    # Also where only small things are allocated: nodes of the tape.
    assert in_a_process(LIMITED, memory=150 << 20) == ["refused"] * 6


# -- leaks ---------------------------------------------------------------------------------------


def classifier():
    model = ad.Sequential(
        [
            layers.Input((4, 4, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


X = np.linspace(-1, 1, 128, dtype="float32").reshape(8, 4, 4, 1)
Y = np.arange(8) % 3


def test_training_takes_no_more_memory_with_time():
    def train(model):
        model.fit(X, Y, batch_size=4, epochs=5, validation_data=(X, Y), verbose=0)
        model.predict(X, verbose=0)
        with ad.GradientTape(persistent=True) as tape:
            loss = ops.sum(model(X, training=True) ** 2)
        tape.gradient(loss, model.trainable_variables)
        with pytest.raises(ValueError):
            model.train_on_batch(X, Y + 3)
        classifier().train_on_batch(X, Y)

    model = classifier()
    train(model)
    before = held()
    for _ in range(20):
        train(model)
    assert held() == before
    del model


def test_what_is_dropped_is_freed_at_once():
    before = held()
    gc.disable()
    try:
        x = leaf(1000)
        y = ops.sum(ops.exp(x) * x)
        y.backward(create_graph=True)
        (second,) = _core.grad(ops.sum(x.grad * x), [x], None, False, True)
        del x, y, second
        assert _core.memory_info()["tensors"] == before
        w = ad.Variable(np.ones(1000, "float32"))
        ops.sum(w * w * w).backward(create_graph=True)
        del w
        assert _core.memory_info()["tensors"] == before
        with ad.GradientTape() as tape:
            x = ad.ones((1000,))
            tape.watch(x)
            y = x * x
        del x, y, tape
        assert _core.memory_info()["tensors"] == before
    finally:
        gc.enable()


def test_gradients_that_hold_each_others_graphs():
    before = held()

    def work():
        x = leaf(100)
        for _ in range(3000):
            y = leaf(100)
            ops.sum(y * y * x).backward(create_graph=True)
            x = y
        return x.grad.shape

    assert on_a_small_stack(work) == (100,)
    assert held() == before


def test_tensors_in_cycles_are_collected():
    before = held()
    for _ in range(3):
        x = leaf(1000)
        x._logits = ("softmax", x)
        y = x * 2

        def hook(y=y):
            return y

        hook.itself = hook
        del x, y, hook
    assert held() == before


@pytest.mark.skipif(
    os.environ.get("AUTODAN_MEMORY", "arena") != "arena", reason="only the arena keeps freed memory"
)
def test_a_freed_cache_is_given_back():
    del_me = ad.ones((500_000,))
    del del_me
    assert _core.memory_info()["cached"] >= 2_000_000
    _core.trim_memory()
    assert _core.memory_info()["cached"] == 0
    assert (ad.ones((500_000,)) + 1).sum().item() == 1_000_000
