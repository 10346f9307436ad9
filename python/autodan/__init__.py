"""autodan: deep learning on the CPU, compatible with Keras 3, with a core in Rust.

`import autodan as keras` runs a Keras program; `import autodan as tf` finds `tf.keras` too.
Tensors and array functions stand at the top level under the Array API's names, everything else in
the namespaces of Keras (`layers`, `models`, `losses`, ...), which are imported when first used.

>>> import autodan as ad
>>> x = ad.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad.tolist()
[2.0, 4.0]
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from autodan import ops
from autodan._core import InternalError, Tensor, TraceError, tensor
from autodan.autograd import GradientTape, enable_grad, grad, no_grad, value_and_grad
from autodan.ops import *  # noqa: F403
from autodan.variable import Variable

if TYPE_CHECKING:
    from autodan import activations as activations
    from autodan import callbacks as callbacks
    from autodan import config as config
    from autodan import datasets as datasets
    from autodan import initializers as initializers
    from autodan import layers as layers
    from autodan import losses as losses
    from autodan import metrics as metrics
    from autodan import models as models
    from autodan import optimizers as optimizers
    from autodan import random as random
    from autodan import regularizers as regularizers
    from autodan import saving as saving
    from autodan import utils as utils
    from autodan.errors import FormatError as FormatError
    from autodan.initializers import Initializer as Initializer
    from autodan.layers import Input as Input
    from autodan.layers import InputSpec as InputSpec
    from autodan.layers import Layer as Layer
    from autodan.layers.input_spec import KerasTensor as KerasTensor
    from autodan.losses import Loss as Loss
    from autodan.metrics import Metric as Metric
    from autodan.models import Model as Model
    from autodan.models import Sequential as Sequential
    from autodan.optimizers import Optimizer as Optimizer
    from autodan.regularizers import Regularizer as Regularizer

# Imported when first used, so that `import autodan` costs little more than NumPy.
_NAMESPACES = (
    "activations",
    "autograd",
    "callbacks",
    "config",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "saving",
    "utils",
)
_LAZY = {
    "FormatError": "autodan.errors",
    "Initializer": "autodan.initializers",
    "Input": "autodan.layers",
    "InputSpec": "autodan.layers",
    "KerasTensor": "autodan.layers.input_spec",
    "Layer": "autodan.layers",
    "Loss": "autodan.losses",
    "Metric": "autodan.metrics",
    "Model": "autodan.models",
    "Optimizer": "autodan.optimizers",
    "Regularizer": "autodan.regularizers",
    "Sequential": "autodan.models",
}

__all__ = [
    "GradientTape",
    "InternalError",
    "TraceError",
    "Tensor",
    "Variable",
    "enable_grad",
    "grad",
    "keras",
    "no_grad",
    "tensor",
    "value_and_grad",
    *_NAMESPACES,
    *_LAZY,
    *ops.__all__,
]

# `tf.keras` of a program that says `import autodan as tf`. The statement `import autodan.keras`
# finds the module of that name, which makes every submodule an alias as well.
keras = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return importlib.import_module(f"autodan.{name}")
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("autodan")
    raise AttributeError(f"module 'autodan' has no attribute '{name}'{_hint(name)}")


def _hint(name: str) -> str:
    from autodan.utils.naming import nearest

    found = nearest(name, dict.fromkeys(__all__))
    return f". Did you mean '{found}'?" if found and not name.startswith("_") else ""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
