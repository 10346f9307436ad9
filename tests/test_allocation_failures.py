"""Memory that cannot be had, at every single allocation: a MemoryError, and nothing half-changed.

Each test makes a call whose n-th allocation fails, for n = 1, 2, 3, ... until it needs fewer.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from opspecs import SPECS
from opspecs.spec import FLOATS
from strategies import cases

import autodan as ad
from autodan import _core, layers, ops, optimizers

rows = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
few = settings(max_examples=1)


@pytest.fixture(autouse=True)
def none_to_come():
    yield
    _core.fail_allocation(0)


def fails(call, n):
    """Make the call's n-th allocation fail; return whether it had as many."""
    _core.fail_allocation(n)
    try:
        call()
    except MemoryError:
        assert _core.fail_allocation(0) == 0, "refused though memory was there"
        return True
    assert _core.fail_allocation(0) > 0, "an allocation failed unnoticed"
    return False


def many(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


def bits(tensors):
    return [x.numpy().tobytes() for x in many(tensors)]


def held():
    gc.collect()
    return _core.memory_info()["tensors"]


def a_dtype(spec):
    return next(d for d in (*FLOATS, "int64", "bool") if isinstance(spec.dtypes.get(d), str))


@rows
def test_ops(spec):
    @few
    @given(case=cases(spec, max_size=300))
    def check(case):
        operands = case.tensors(a_dtype(spec))
        before = bits(operands)

        def call():
            return spec.op(*operands, **case.kwargs)

        expected = bits(call())
        memory, n = held(), 1
        while fails(call, n):
            assert bits(operands) == before
            n += 1
        assert bits(call()) == expected and bits(operands) == before
        assert held() == memory

    check()


@pytest.mark.parametrize("spec", [s for s in SPECS if s.gradients], ids=lambda spec: spec.name)
def test_gradients(spec):
    @few
    @given(case=cases(spec, smooth=True, max_size=300))
    def check(case):
        operands = case.tensors("float64")
        leaves = [operands[index] for index in spec.gradients if index < len(operands)]
        for x in leaves:
            x.requires_grad = True
        outputs = [y for y in many(spec.op(*operands, **case.kwargs)) if y.requires_grad]
        if not outputs:
            return
        total = sum(y.sum() for y in outputs)

        def backward():
            total.backward(retain_graph=True)

        backward()
        expected = bits([x.grad for x in leaves if x.grad is not None])
        for x in leaves:
            x.grad = None
        n = 1
        while fails(backward, n):
            assert all(x.grad is None for x in leaves)
            for x in leaves:
                x.grad = None
            n += 1
        assert bits([x.grad for x in leaves if x.grad is not None]) == expected

    check()


def test_gathered_gradients_are_added_to_all_or_none():
    xs = [ad.tensor(np.ones(100), requires_grad=True) for _ in range(3)]

    def total():
        return sum((x * x * (i + 1)).sum() for i, x in enumerate(xs))

    total().backward()
    before, n = bits([x.grad for x in xs]), 1
    graph = total()
    while fails(lambda: graph.backward(retain_graph=True), n):
        assert bits([x.grad for x in xs]) == before
        n += 1
    assert [x.grad[0].item() for x in xs] == [4.0, 8.0, 12.0]


# -- what is written to --------------------------------------------------------------------------


def array(n=4):
    return np.arange(n * n, dtype="float32").reshape(n, n)


WRITES = {
    "slice": lambda t: t.__setitem__((slice(None, None, -1), slice(1, 3)), array(4)[:, :2] * 2),
    "picked": lambda t: t.__setitem__(([0, 2, 2], [1, 1, 3]), [7, 8, 9]),
    "mask": lambda t: t.__setitem__(t > 3, 0.5),
    "another dtype": lambda t: t.__setitem__(0, ad.ones((4,), "float64")),
    "requires_grad": lambda t: setattr(t, "requires_grad", True),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_writes(write, shared):
    def fresh():
        t = ad.tensor(array())
        return t, (t.numpy() if shared else None)

    expected, _ = fresh()
    WRITES[write](expected)
    n = 1
    while True:
        t, export = fresh()
        if not fails(lambda t=t: WRITES[write](t), n):
            break
        assert t.tolist() == array().tolist() and not t.requires_grad
        WRITES[write](t)
        assert t.tolist() == expected.tolist()
        n += 1
    assert t.tolist() == expected.tolist()
    assert export is None or export.tolist() == array().tolist()


VARIABLE_WRITES = {
    "assign": lambda v: v.assign(array() * 2),
    "assign_add": lambda v: v.assign_add(array().astype("float64")),
    "assign_sub": lambda v: v.assign_sub(2),
    "setitem": lambda v: v.__setitem__((slice(None), 0), [1, 2, 3, 4]),
    "grad": lambda v: setattr(v, "grad", array().astype("float64")),
}


@pytest.mark.parametrize("write", VARIABLE_WRITES)
def test_variables(write):
    v, n = ad.Variable(array()), 1
    while fails(lambda: VARIABLE_WRITES[write](v), n):
        assert v.tolist() == array().tolist() and v.grad is None
        n += 1
    assert n > 1


# -- training ------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype("float32")
Y = np.arange(8) % 3
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: optimizers.Adam(0.01, clipnorm=1.0),
    "adamw": lambda: optimizers.Adam(0.01, weight_decay=0.01, global_clipnorm=1.0),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True, clipvalue=0.5),
}


def classifier(optimizer="adam", build=True):
    ad.random.set_seed(0)
    model = ad.Sequential(
        [
            layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3, seed=3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(OPTIMIZERS[optimizer](), "sparse_categorical_crossentropy", metrics=["accuracy"])
    if build:
        model.train_on_batch(X, Y)
    return model


def state(model):
    """Return the bits of everything that training changes."""
    variables = [*model.variables, *model.optimizer.variables]
    variables += [variable for metric in model.metrics for variable in metric.variables]
    counters = [getattr(g, "counter", None) for g in vars(model.layers[3]).values()]
    return bits(variables), counters


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_steps(optimizer):
    model, untroubled = classifier(optimizer), classifier(optimizer)
    before, n = state(model), 1
    while fails(lambda: model.train_on_batch(X, Y), n):
        assert state(model) == before, n
        n += 1
    untroubled.train_on_batch(X, Y)
    assert state(model) == state(untroubled)
    assert n > 40


def test_evaluation_and_prediction():
    model = classifier()
    before = bits(model.variables)
    for call in (
        lambda: model.predict(X, verbose=0),
        lambda: model.evaluate(X, Y, verbose=0),
        lambda: model.test_on_batch(X, Y),
    ):
        expected, n = call(), 1
        while fails(call, n):
            n += 1
        assert n > 5 and bits(model.variables) == before
        np.testing.assert_array_equal(np.ravel(expected).shape, np.ravel(call()).shape)


def test_fit_stops_between_two_steps():
    seen = []

    class States(ad.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(bits(self.model.variables))

    def fit(model, *callbacks):
        model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))

    model = classifier()
    seen.append(bits(model.variables))
    fit(model, States())
    n = 1
    while True:
        model = classifier()
        if not fails(lambda model=model: fit(model), n):
            break
        assert bits(model.variables) in seen, n
        n += 23
    assert bits(model.variables) == seen[-1]
    assert n > 200


def test_building():
    untroubled = classifier()
    n = 1
    while True:
        model = classifier(build=False)
        if not fails(lambda model=model: model.train_on_batch(X, Y), n):
            break
        ad.random.set_seed(0)
        n += 5
    assert bits(model.variables) == bits(untroubled.variables)
    # After a failure the same model can be built.
    for n in (1, 5, 20, 60):
        model = classifier(build=False)
        assert fails(lambda model=model: model.train_on_batch(X, Y), n)
        assert np.isfinite(model.train_on_batch(X, Y)[0])
        assert len(model.optimizer.variables) == len(untroubled.optimizer.variables)


def test_optimizers_of_several_dtypes_are_all_or_nothing():
    def step(variables, gradients, optimizer):
        optimizer.apply(gradients, variables)

    for make in OPTIMIZERS.values():
        variables = [ad.Variable(np.ones(5, d)) for d in ("float32", "float64", "float32")]
        views = [ad.ones((10,), v.dtype)[::2] * 1.0 for v in variables]
        gradients = [ad.ones((10,), v.dtype)[::2] for v in variables]
        optimizer = make()
        step(variables, gradients, optimizer)
        # Whoever holds the values makes the update copy them.
        exports = [v.numpy() for v in (*variables, *optimizer.variables)]
        before, n = bits([*variables, *optimizer.variables]), 1
        while fails(lambda v=variables, g=gradients, o=optimizer: step(v, g, o), n):
            assert bits([*variables, *optimizer.variables]) == before
            n += 1
        assert bits([*variables, *optimizer.variables]) != before
        assert [export.tobytes() for export in exports] == before
        assert n > 3 and all(view[0].item() == 1.0 for view in views)


def test_set_weights():
    model = classifier()
    before, n = bits(model.variables), 1
    weights = [w * 2 for w in model.get_weights()]
    while fails(lambda: model.set_weights(weights), n):
        assert bits(model.variables) == before
        n += 1
    assert n > len(weights)


def test_many_threads_and_large_operands():
    x = ad.tensor(np.random.default_rng(0).normal(size=(200, 300)).astype("float32"))
    calls = (
        lambda: x @ x.T,
        lambda: ops.softmax(x.T, axis=0),
        lambda: ops.sum(x.T[::-1], axis=0),
        lambda: ops.conv(x.reshape(2, 100, 100, 3), ad.ones((3, 3, 3, 8)), padding="same"),
        lambda: x.reshape(60, 10, 100) @ x.reshape(60, 100, 10),
    )
    for call in calls:
        expected, n = bits(call()), 1
        while fails(call, n):
            n += 1
        assert n > 1 and bits(call()) == expected
