"""Optimizers against NumPy references over several steps.

The references are written from the papers' equations, in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan.optimizers import SGD, Adam, RMSprop

State = dict[str, np.ndarray]


def sgd(w, g, state, step, lr, momentum=0.0, nesterov=False):
    if momentum == 0.0:
        return w - lr * g
    v = momentum * state.get("v", np.zeros_like(w)) - lr * g
    state["v"] = v
    return w + momentum * v - lr * g if nesterov else w + v


def adam(w, g, state, step, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
    m = beta_1 * state.get("m", np.zeros_like(w)) + (1 - beta_1) * g
    v = beta_2 * state.get("v", np.zeros_like(w)) + (1 - beta_2) * g**2
    state["m"], state["v"] = m, v
    if amsgrad:
        v = state["largest"] = np.maximum(state.get("largest", np.zeros_like(w)), v)
    alpha = lr * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    return w - alpha * m / (np.sqrt(v) + epsilon)


def rmsprop(w, g, state, step, lr, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    v = rho * state.get("v", np.zeros_like(w)) + (1 - rho) * g**2
    state["v"] = v
    variance = v
    if centered:
        a = state["a"] = rho * state.get("a", np.zeros_like(w)) + (1 - rho) * g
        variance = v - a**2
    update = lr * g / np.sqrt(variance + epsilon)
    if momentum:
        update = state["b"] = momentum * state.get("b", np.zeros_like(w)) + update
    return w - update


def clipped(gradients, clipnorm=None, clipvalue=None, global_clipnorm=None):
    if clipvalue is not None:
        return [np.clip(g, -clipvalue, clipvalue) for g in gradients]
    if clipnorm is not None:
        norms = [np.linalg.norm(g) for g in gradients]
        return [g * clipnorm / max(n, clipnorm) for g, n in zip(gradients, norms, strict=True)]
    if global_clipnorm is not None:
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
        return [g * global_clipnorm / max(norm, global_clipnorm) for g in gradients]
    return gradients


SHAPES = [(3, 4), (5,), (), (0, 2), (2, 1, 3)]
RULES = [
    (SGD, sgd, {}),
    (SGD, sgd, {"momentum": 0.9}),
    (SGD, sgd, {"momentum": 0.9, "nesterov": True}),
    (Adam, adam, {}),
    (Adam, adam, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    (Adam, adam, {"amsgrad": True, "beta_2": 0.5}),
    (RMSprop, rmsprop, {}),
    (RMSprop, rmsprop, {"rho": 0.5, "momentum": 0.9, "epsilon": 1e-3}),
    (RMSprop, rmsprop, {"centered": True, "epsilon": 1e-3}),
]
TOLERANCES = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-14}}


def name_of(rule):
    return rule[0].__name__ + "-" + "-".join(f"{k}={v}" for k, v in rule[2].items())


def trajectory(optimizer, reference, options, dtype, steps=6, decay=0.0, **clipping):
    """Run the optimizer and its reference on the same random gradients; yield both weights."""
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    variables = [ad.Variable(w, dtype=dtype) for w in weights]
    states: list[State] = [{} for _ in SHAPES]
    expected = [w.astype("float64") for w in weights]
    lr = float(optimizer.learning_rate)
    for step in range(1, steps + 1):
        gradients = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
        optimizer.apply([ad.tensor(g) for g in gradients], variables)
        limited = clipped([g.astype("float64") for g in gradients], **clipping)
        expected = [
            reference(w - lr * decay * w, g, state, step, lr, **options)
            for w, g, state in zip(expected, limited, states, strict=True)
        ]
        yield [v.numpy() for v in variables], expected


def check(steps, dtype):
    for actual, expected in steps:
        for a, e in zip(actual, expected, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, e, **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_update_follows_formula(rule, dtype):
    kind, reference, options = rule
    optimizer = kind(learning_rate=0.05, **options)
    check(trajectory(optimizer, reference, options, dtype), dtype)
    assert int(optimizer.iterations) == 6


@pytest.mark.parametrize("rule", [RULES[1], RULES[3], RULES[6]], ids=name_of)
@pytest.mark.parametrize(
    "clipping", [{"clipnorm": 0.7}, {"clipvalue": 0.3}, {"global_clipnorm": 1.1}], ids=str
)
def test_clipping(rule, clipping):
    kind, reference, options = rule
    optimizer = kind(learning_rate=0.05, **options, **clipping)
    check(trajectory(optimizer, reference, options, "float64", **clipping), "float64")


@pytest.mark.parametrize("rule", [RULES[1], RULES[3], RULES[6]], ids=name_of)
def test_weight_decay(rule):
    kind, reference, options = rule
    optimizer = kind(learning_rate=0.05, weight_decay=0.1, **options)
    check(trajectory(optimizer, reference, options, "float64", decay=0.1), "float64")


def test_weight_decay_spares_what_is_excluded():
    optimizer = SGD(learning_rate=0.5, weight_decay=0.5)
    kernel, bias, scale = (ad.Variable([1.0], name=n) for n in ("kernel", "bias", "scale"))
    optimizer.exclude_from_weight_decay(var_list=[scale], var_names=["bi.s"])
    optimizer.apply([[0.0], [0.0], [0.0]], [kernel, bias, scale])
    assert [float(v.numpy()[0]) for v in (kernel, bias, scale)] == [0.75, 1.0, 1.0]
    with pytest.raises(ValueError, match="is built already: call exclude_from_weight_decay"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_small_gradients_are_not_clipped_up():
    for clipping in ("clipnorm", "global_clipnorm", "clipvalue"):
        w = ad.Variable([0.0, 0.0])
        SGD(1.0, **{clipping: 10.0}).apply([[0.25, -0.5]], [w])
        assert w.numpy().tolist() == [-0.25, 0.5]


def test_zero_gradient_under_clipnorm_is_finite():
    w = ad.Variable([1.0, 2.0])
    SGD(1.0, clipnorm=1.0).apply([[0.0, 0.0]], [w])
    assert w.numpy().tolist() == [1.0, 2.0]


def test_global_norm_spans_dtypes():
    a, b = ad.Variable([0.0], dtype="float32"), ad.Variable(np.zeros(1))
    SGD(1.0, global_clipnorm=1.0).apply([[3.0], np.array([4.0])], [a, b])
    np.testing.assert_allclose([a.numpy()[0], b.numpy()[0]], [-0.6, -0.8], rtol=1e-6)


def test_update_on_a_subset_uses_the_right_slots():
    rng = np.random.default_rng(2)
    whole = [ad.Variable(np.zeros(3)) for _ in range(3)]
    single = [ad.Variable(np.zeros(3)) for _ in range(3)]
    together = Adam(0.1)
    alone = [Adam(0.1) for _ in single]
    together.build(whole)
    for step in range(4):
        chosen = [2, 0] if step % 2 else [0, 1, 2]
        gradients = {i: rng.normal(size=3) for i in chosen}
        together.apply([gradients[i] for i in chosen], [whole[i] for i in chosen])
        for i in range(3):
            # Step counts are shared: let the others count along with a gradient kept apart.
            alone[i].iterations.assign(step)
            if i in chosen:
                alone[i].apply([gradients[i]], [single[i]])
    for a, b in zip(whole, single, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop])
def test_learns_a_quadratic(kind):
    w = ad.Variable([3.0, -2.0])
    optimizer = kind(learning_rate=0.1)
    optimizer.build([w])
    for _ in range(200):
        ad.ops.sum(ad.ops.square(w - ad.tensor([1.0, 2.0]))).backward()
        optimizer.apply()
    np.testing.assert_allclose(w.numpy(), [1.0, 2.0], atol=0.1)
