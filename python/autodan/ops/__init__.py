"""Functions on tensors under the names and arguments of `keras.ops`.

Functions of the compiled core appear here by themselves: adding an op to the core's table needs no
edit in this package. `ops.numpy` and `ops.nn` hold those that are composed of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autodan import _core
from autodan.ops import nn as nn
from autodan.ops import numpy as numpy
from autodan.ops.nn import *  # noqa: F403
from autodan.ops.numpy import *  # noqa: F403

if TYPE_CHECKING:
    from autodan._core import *  # type: ignore[assignment]  # noqa: F403

# What the core offers to the rest of the package rather than to users. Everything else that it
# exports is an array function.
_INTERNAL = frozenset(
    {
        "adam_update",
        "available_isas",
        "average_pool2d",
        "batch_norm",
        "bias_activation",
        "build_info",
        "conv2d",
        "conv2d_bias",
        "conv2d_max_pool",
        "dropout",
        "linear",
        "fail_allocation",
        "global_norm",
        "grad",
        "is_grad_enabled",
        "isa",
        "max_pool2d",
        "memory_info",
        "num_threads",
        "set_grad_enabled",
        "set_isa",
        "set_num_threads",
        "set_poison",
        "sgd_update",
        "sigmoid_cross_entropy",
        "softmax_cross_entropy",
        "sparse_softmax_cross_entropy",
        "tensor",
    }
)

_core_names = [
    name
    for name, value in vars(_core).items()
    if callable(value)
    and not isinstance(value, type)
    and not name.startswith(("_", "random_"))
    and name not in _INTERNAL
]
for _name in _core_names:
    globals().setdefault(_name, getattr(_core, _name))

__all__ = sorted({*_core_names, *nn.__all__, *numpy.__all__})
del _name
