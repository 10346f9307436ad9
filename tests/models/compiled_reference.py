"""Compiled steps next to eager ones: the same model twice, and what must be equal about both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import autodan as ad
from autodan import layers, random
from autodan.utils.tree import flatten

# A step in float32 may differ by roundings: a compiled one fuses kernels.
TOLERANCES = {"float32": {"rtol": 1e-4, "atol": 1e-5}, "float64": {"rtol": 1e-9, "atol": 1e-11}}


def rows(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def labels(count: int, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, classes, size=count)


X, Y = rows(12, 4), labels(12)


def classifier(
    *inner: layers.Layer, optimizer: Any = "sgd", head: str = "softmax", **arguments: Any
) -> ad.Sequential:
    """A model for X and Y whose inner layers act on 5 features."""
    model = ad.Sequential(
        [layers.Input((4,)), layers.Dense(5, "tanh"), *inner, layers.Dense(3, head)]
    )
    arguments = {"loss": "sparse_categorical_crossentropy", **arguments}
    model.compile(optimizer, **arguments)
    return model


def generators(model: Any) -> list[random.SeedGenerator]:
    found = [layer._children(random.SeedGenerator) for layer in model._flatten_layers()]
    return [generator for children in found for generator in children]


def state(model: Any) -> dict[str, list[np.ndarray]]:
    """All that training changes."""
    optimizer = model.optimizer
    return {
        "weights": model.get_weights(),
        "optimizer": [] if optimizer is None else [v.numpy() for v in optimizer.variables],
        "metrics": [v.numpy() for metric in model.metrics for v in metric.variables],
        "draws": [np.array(g.counter) for g in (*generators(model), random.global_stream())],
    }


def same(first: Any, second: Any, dtype: str = "float32") -> None:
    """Check that two structures of numbers and arrays agree."""
    first, second = flatten(first), flatten(second)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), **TOLERANCES[dtype])


def bits(structure: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in flatten(structure)]


def entries(model: Any) -> dict[str, list[Any]]:
    """The steps of the model's programs by kind; None for one that runs eagerly."""
    found: dict[str, list[Any]] = {}
    for spec, entry in model._programs._entries.items():
        found.setdefault(spec[0], []).append(entry.step)
    return found


def check_compiled(model: Any, *kinds: str) -> None:
    """Check that steps of these kinds ran, and that no step of any kind ran eagerly."""
    found = entries(model)
    assert set(kinds) <= set(found)
    for kind, steps in found.items():
        assert all(step is not None for step in steps), kind
    assert not model._programs._noted


def check_eager(model: Any, kind: str = "train") -> None:
    assert not any(entries(model).get(kind, ()))


def both(
    make: Callable[[], Any],
    use: Callable[[Any], Any],
    dtype: str = "float32",
    kinds: tuple[str, ...] | None = ("train",),
) -> Any:
    """Use a model compiled and the same one eagerly; check that what comes out agrees.

    Args:
        make: Makes the model, compiled for training.
        use: Trains it; what it returns is compared, too.
        dtype: How closely.
        kinds: Steps that must have run compiled; None checks none.

    Returns:
        The model that was compiled.
    """
    ran = []
    for eager in (False, True):
        ad.utils.set_random_seed(11)
        model = make()
        model.run_eagerly = eager
        returned = use(model)
        ran.append((model, returned, state(model)))
    (model, returned, changed), (eager, expected, reference) = ran
    assert not eager._programs._entries
    for part in reference:
        same(changed[part], reference[part], dtype)
    same(returned, expected, dtype)
    if kinds is not None:
        check_compiled(model, *kinds)
    return model


def steps(x: Any = X, y: Any = Y, sample_weight: Any = None) -> Callable[[Any], Any]:
    """A use: two training steps, evaluation and prediction, each by batch and by its loop."""

    def use(model: Any) -> Any:
        arguments = {} if sample_weight is None else {"sample_weight": sample_weight}
        results = [model.train_on_batch(x, y, **arguments)]
        history = model.fit(x, y, batch_size=len(x), shuffle=False, verbose=0, **arguments)
        results += [
            history.history,
            model.test_on_batch(x, y, **arguments),
            model.evaluate(x, y, batch_size=len(x), verbose=0, **arguments),
            model.predict_on_batch(x),
            model.predict(x, batch_size=len(x), verbose=0),
        ]
        return results

    return use
