"""What is called: every public function, class, method and property of the package."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import autodan as ad

MODULES = (
    "autodan",
    "autodan.activations",
    "autodan.autograd",
    "autodan.callbacks",
    "autodan.config",
    "autodan.datasets.cifar10",
    "autodan.datasets.digits",
    "autodan.datasets.fashion_mnist",
    "autodan.datasets.idx",
    "autodan.datasets.mnist",
    "autodan.datasets.source",
    "autodan.initializers",
    "autodan.layers",
    "autodan.losses",
    "autodan.metrics",
    "autodan.models",
    "autodan.ops",
    "autodan.optimizers",
    "autodan.optimizers.schedules",
    "autodan.random",
    "autodan.regularizers",
    "autodan.testing",
    "autodan.utils",
    "autodan._core",
)
EXCLUDED = {
    "autodan.enable_grad": "a context manager, changes the state when entered",
    "autodan.no_grad": "the same",
    "autodan._core.fail_allocation": "has an allocation fail, a switch for tests",
    "autodan._core.set_poison": "fills new memory, a switch for tests",
    "autodan.utils.plot_history": "draws: slow, and matplotlib's own",
    "autodan.datasets.idx.load_splits": "for the modules of data sets",
    "GradientTape.__enter__": "starts recording: right only in a with statement",
    "GradientTape.__exit__": "the same",
    "Layer.add_loss": "keeps what it gets until the next call, by purpose",
}
# Whose purpose is to change the state that other calls must leave alone.
SETTERS = frozenset(
    {
        "autodan.config.set_epsilon",
        "autodan.config.set_floatx",
        "autodan.config.set_image_data_format",
        "autodan._core.set_grad_enabled",
        "autodan._core.set_isa",
        "autodan._core.set_num_threads",
    }
)
# Whose purpose is to change an argument.
CHANGERS = frozenset(
    {
        "autodan._core.adam_update",
        "autodan._core.sgd_update",
        "GradientTape.watch",
        "LearningRateScheduler.on_epoch_end",
        "ReduceLROnPlateau.on_epoch_end",
    }
)
# Hooks that the package calls with arguments which it has checked, and users override: what is
# said of wrong ones is Python's own.
HOOKS = frozenset(
    {
        "CallbackList",
        "add_optimizer_variables",
        "add_variable_from_reference",
        "build",
        "call",
        "compute_loss",
        "compute_metrics",
        "compute_output_shape",
        "compute_output_spec",
        "create_slots",
        "on_batch_begin",
        "on_batch_end",
        "on_epoch_begin",
        "on_epoch_end",
        "on_predict_batch_begin",
        "on_predict_batch_end",
        "on_predict_begin",
        "on_predict_end",
        "on_test_batch_begin",
        "on_test_batch_end",
        "on_test_begin",
        "on_test_end",
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_train_begin",
        "on_train_end",
        "predict_step",
        "set_model",
        "set_params",
        "test_step",
        "train_step",
        "update_step",
        "update_steps",
    }
)
DUNDERS = frozenset(
    {
        "__abs__",
        "__add__",
        "__and__",
        "__bool__",
        "__call__",
        "__contains__",
        "__copy__",
        "__deepcopy__",
        "__delitem__",
        "__eq__",
        "__float__",
        "__floordiv__",
        "__format__",
        "__ge__",
        "__getitem__",
        "__gt__",
        "__index__",
        "__int__",
        "__invert__",
        "__iter__",
        "__le__",
        "__len__",
        "__lt__",
        "__matmul__",
        "__mod__",
        "__mul__",
        "__ne__",
        "__neg__",
        "__or__",
        "__pos__",
        "__pow__",
        "__radd__",
        "__rand__",
        "__reduce__",
        "__repr__",
        "__rfloordiv__",
        "__rmatmul__",
        "__rmod__",
        "__rmul__",
        "__ror__",
        "__rpow__",
        "__rsub__",
        "__rtruediv__",
        "__rxor__",
        "__setitem__",
        "__sub__",
        "__truediv__",
        "__xor__",
    }
)
# Inherited by many classes that mean something else by them; others are called on the base class.
SPECIFIC = frozenset({"__call__", "__deepcopy__", "build", "call", "from_config", "get_config"})


@dataclass(frozen=True)
class Target:
    """Something to call.

    Args:
        name: its full name.
        receiver: makes the object whose method it is, or None for a function.
        member: the name of the method, "" for the function itself.
        function: the function, or None for a method.
        kind: "function", "method" or "property".
    """

    name: str
    receiver: Callable[[], Any] | None
    member: str
    function: Callable[..., Any] | None
    kind: str


def _samples() -> np.ndarray:
    return np.linspace(-1, 1, 20, dtype="float32").reshape(4, 5)


def _images() -> np.ndarray:
    return np.linspace(-1, 1, 96, dtype="float32").reshape(2, 4, 4, 3)


def _model() -> ad.Sequential:
    model = ad.Sequential(
        [ad.Input((5,)), ad.layers.Dense(4, "relu"), ad.layers.Dense(3, "softmax")]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _optimizer(cls: type) -> Any:
    optimizer = cls(0.1)
    optimizer.build([ad.Variable(np.ones((2, 3), dtype="float32"))])
    return optimizer


def _built(layer: Any) -> Any:
    layer(_images() if "2D" in type(layer).__name__ else _samples())
    return layer


def _with_model(callback: Any) -> Any:
    callback.set_params({"epochs": 2, "steps": 3, "verbose": 0})
    callback.set_model(_model())
    callback.on_train_begin()
    return callback


# How to make an object of a class that cannot be made without arguments.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Activation": ("relu",),
    "CSVLogger": ("log.csv",),
    "Conv2D": (2, 2),
    "CosineDecay": (0.1, 10),
    "Dense": (3,),
    "Dropout": (0.5,),
    "ExponentialDecay": (0.1, 10, 0.9),
    "InputLayer": ((3,),),
    "LearningRateScheduler": (lambda epoch, rate: rate,),
    "ModelCheckpoint": ("model-{epoch}.keras",),
    "LossFunctionWrapper": (ad.losses.mse,),
    "MeanMetricWrapper": (ad.losses.mse,),
    "PiecewiseConstantDecay": ([1, 2], [0.1, 0.2, 0.3]),
    "Progbar": (3,),
    "Source": ("toy", ("toy.gz",), ()),
    "Variable": (np.ones((2, 3), dtype="float32"),),
    "View": ((2, 3),),
    "KerasTensor": ((None, 3),),
    "Optimizer": (0.1,),
}


def _graph() -> Any:
    ad._core._trace_begin()
    return ad._core._trace_end([ad._core._trace_input((2,), "float32") + 1])


def receiver(cls: type) -> Callable[[], Any]:
    """Return a function that makes an object of a class, ready for use."""
    if issubclass(cls, ad.Model):
        return _model
    if cls is ad.Tensor:
        return lambda: ad.tensor(np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3))
    arguments = ARGUMENTS.get(cls.__name__, ())
    if issubclass(cls, ad.Optimizer):
        return lambda: _optimizer(cls)
    if cls is ad._core.Graph:
        return _graph
    if cls is ad._core.Program:
        return lambda: _graph().compile()
    if issubclass(cls, ad.callbacks.Callback):
        return lambda: _with_model(cls(*arguments))
    if issubclass(cls, ad.Layer) and cls is not ad.Layer and cls.__name__ != "InputLayer":
        return lambda: _built(cls(*arguments))
    return lambda: cls(*arguments)


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None)
    for name in sorted(names or vars(module)):
        value = getattr(module, name)
        own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and callable(value) and (own or names):
            yield name, value


def _members(cls: type, public: Collection[type]) -> Iterator[tuple[str, str]]:
    bases = [base for base in cls.__mro__[1:] if base in public]
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        inherited = any(inspect.getattr_static(base, name, None) is value for base in bases)
        if value is getattr(object, name, None) or (inherited and name not in SPECIFIC):
            continue
        if isinstance(value, property) or inspect.isdatadescriptor(value):
            if not name.startswith("_") and getattr(value, "fset", value) is not None:
                yield name, "property"
        elif (name in DUNDERS or not name.startswith("_")) and callable(getattr(cls, name)):
            yield name, "method"


def targets() -> list[Target]:
    """Return all of them, each object once."""
    found: dict[int, Target] = {}
    classes: dict[type, str] = {}
    for path in MODULES:
        for name, value in _public(importlib.import_module(path)):
            full = f"{path}.{name}"
            if full in EXCLUDED or (isinstance(value, type) and issubclass(value, Exception)):
                continue
            found.setdefault(id(value), Target(full, None, "", value, "function"))
            if isinstance(value, type):
                classes.setdefault(value, name)
    result = list(found.values())
    for cls in classes:
        if getattr(cls, "__abstractmethods__", None) or getattr(cls, "_is_protocol", False):
            continue
        for member, kind in _members(cls, classes):
            owners = [base.__name__ for base in cls.__mro__ if member in vars(base)]
            if any(f"{owner}.{member}" in EXCLUDED for owner in owners):
                continue
            name = f"{cls.__name__}.{member}"
            result.append(Target(name, receiver(cls), member, None, kind))
    return result
