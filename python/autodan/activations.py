"""Activation functions under the names and defaults of `keras.activations`.

Each takes a float tensor of any shape and returns one of the same shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autodan import _core, ops
from autodan._core import (
    Tensor,
    celu,
    elu,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    log_sigmoid,
    log_softmax,
    mish,
    relu6,
    selu,
    silu,
    softplus,
    softsign,
    tanh,
    tanh_shrink,
)
from autodan.ops.nn import softmax as _softmax
from autodan.utils import resolve as identifiers
from autodan.utils.naming import lookup, missing_attribute

swish = silu
hard_swish = hard_silu


def linear(x: Tensor) -> Tensor:
    """Return `x` itself (Keras `linear`).

    >>> linear(3.0)
    3.0
    """
    return x


def exponential(x: Tensor) -> Tensor:
    """Return `exp(x)` (Keras `exponential`).

    >>> float(exponential(0.0))
    1.0
    """
    return _core.exp(x)


def relu(
    x: Tensor,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Tensor:
    """Return `max(x, 0)`, or its generalisation (Keras `relu`).

    Args:
        x: A tensor.
        negative_slope: Slope below the threshold. Default 0.
        max_value: Largest value returned. Default: none.
        threshold: Values below it are damped to `negative_slope * (x - threshold)`. Default 0.

    Raises:
        ValueError: a number is negative.

    >>> relu([-1.0, 2.0]).tolist(), relu([-1.0, 8.0], 0.5, max_value=6.0).tolist()
    ([0.0, 2.0], [-0.5, 6.0])
    """
    if not negative_slope and max_value is None and not threshold:
        return _core.relu(x)
    check_relu_arguments(negative_slope, max_value, threshold)
    x = _core.asarray(x)
    if threshold:
        above = _core.where(x >= threshold, x, 0.0)
        y = above + negative_slope * _core.minimum(x - threshold, 0.0) if negative_slope else above
    else:
        y = _core.leaky_relu(x, negative_slope) if negative_slope else _core.relu(x)
    return y if max_value is None else _core.minimum(y, max_value)


def check_relu_arguments(
    negative_slope: float | None, max_value: float | None, threshold: float | None
) -> None:
    """Raise ValueError unless the arguments of a relu are numbers of 0 or more.

    >>> check_relu_arguments(0.1, None, 0.0)
    """
    if negative_slope is None or negative_slope < 0:
        raise ValueError(f"relu: `negative_slope` must be 0 or more. Received: {negative_slope}.")
    if max_value is not None and max_value < 0:
        raise ValueError(f"relu: `max_value` must be 0 or more. Received: {max_value}.")
    if threshold is None or threshold < 0:
        raise ValueError(f"relu: `threshold` must be 0 or more. Received: {threshold}.")


def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """Return `x` where it is positive, else `negative_slope * x` (Keras `leaky_relu`).

    >>> leaky_relu([-1.0, 2.0], 0.5).tolist()
    [-0.5, 2.0]
    """
    return _core.leaky_relu(x, negative_slope)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """Return `x * P(X <= x)` for a standard normal X (Hendrycks, Gimpel 2016; Keras `gelu`).

    Args:
        x: A tensor.
        approximate: Whether to use the tanh approximation. Default False.

    >>> float(gelu(0.0))
    0.0
    """
    return _core.gelu(x, approximate)


def sigmoid(x: Tensor) -> Tensor:
    """Return `1 / (1 + exp(-x))` (Keras `sigmoid`).

    The result remembers its logits, so that a binary crossentropy takes the stable form.

    >>> float(sigmoid(0.0))
    0.5
    """
    y = _core.sigmoid(x)
    y._logits = ("sigmoid", x)
    return y


def softmax(x: Tensor, axis: int | tuple[int, ...] = -1) -> Tensor:
    """Return `exp(x) / sum(exp(x))` along `axis` (Keras `softmax`).

    The result over the last axis remembers its logits, so that a categorical crossentropy takes
    the stable form.

    Args:
        x: A tensor of one dimension or more.
        axis: The axis of the classes, or several. Default -1.

    >>> softmax([[1.0, 1.0]]).tolist()
    [[0.5, 0.5]]
    """
    y = _softmax(x, axis)
    if axis == -1:
        y._logits = ("softmax", x)
    return y


# The activations that the compiled module applies together with a bias. Not `sigmoid`, whose result
# remembers its logits.
_FUSED: tuple[tuple[Any, str], ...] = ((linear, "linear"), (relu, "relu"), (tanh, "tanh"))


def split(activation: Any) -> tuple[str, Any]:
    """Return the part of an activation that a product with a bias applies itself, and what is left.

    The first is a name for `_core.linear` or `_core.conv2d_bias`, the second None or the
    activation.

    >>> split(relu)
    ('relu', None)
    >>> split(softmax)[0]
    'linear'
    """
    for function, name in _FUSED:
        if activation is function:
            return name, None
    return "linear", activation


_TABLE: dict[str, Any] = {
    function.__name__: function
    for function in (
        celu,
        elu,
        exponential,
        gelu,
        hard_sigmoid,
        hard_silu,
        hard_tanh,
        leaky_relu,
        linear,
        log_sigmoid,
        log_softmax,
        mish,
        relu,
        relu6,
        selu,
        sigmoid,
        silu,
        softmax,
        softplus,
        softsign,
        tanh,
        tanh_shrink,
    )
} | {"swish": silu, "hard_swish": hard_silu}

# What the names of functions of `ops` that serve as activations begin with in configs.
_OPS = "ops>"

__all__ = ["deserialize", "get", "hard_swish", "serialize", "swish", *sorted(_TABLE)]

if not TYPE_CHECKING:
    __getattr__ = missing_attribute(__name__, __all__)


def get(identifier: Any) -> Any:
    """Return the activation for a name or a callable; `linear` for None (Keras `get`).

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.

    >>> get("relu") is relu, get(None) is linear
    (True, True)
    """
    if identifier is None:
        return linear
    if isinstance(identifier, dict):  # the config of a layer that serves as an activation
        from autodan import layers

        return layers.deserialize(identifier)
    if isinstance(identifier, str) and identifier.startswith(_OPS):
        name = identifier.removeprefix(_OPS)
        return lookup("op", name, {op: getattr(ops, op) for op in ops.__all__})
    return identifiers.resolve("activation", identifier, _TABLE)


def serialize(activation: Any) -> Any:
    """Return the name of an activation, or the config of a layer that serves as one.

    Raises:
        ValueError: it is a function without a name, as a lambda.

    >>> serialize(relu)
    'relu'
    """
    if hasattr(activation, "get_config"):
        from autodan import layers

        return layers.serialize(activation)
    name = getattr(activation, "__name__", None)
    own = name in _TABLE and _TABLE[name] is activation
    if not own and name in ops.__all__ and getattr(ops, name) is activation:
        return _OPS + name
    return identifiers.serialize(activation, _TABLE)


def deserialize(config: Any) -> Any:
    """Return the activation of this name.

    >>> deserialize("relu") is relu
    True
    """
    return get(config)
