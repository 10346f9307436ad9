"""Activations as layers."""

from __future__ import annotations

from typing import Any

from autodan import activations
from autodan._core import Tensor
from autodan.layers.input_spec import Shape
from autodan.layers.layer import Layer


class _Elementwise(Layer):
    """A layer whose output has the shape of its input."""

    _casts_integers = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape


class Activation(_Elementwise):
    """Apply an activation function (Keras `Activation`).

    Args:
        activation: Activation, or its name.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.

    >>> import autodan as ad
    >>> ad.layers.Activation("relu")([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(_Elementwise):
    """`max(x, 0)`, or its generalisation (Keras `ReLU`).

    Args:
        max_value: Largest value returned. Default: none.
        negative_slope: Slope below the threshold. Default 0.
        threshold: Values below it are damped to `negative_slope * (x - threshold)`. Default 0.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: a number is negative.

    >>> import autodan as ad
    >>> ad.layers.ReLU(max_value=6.0)([-1.0, 2.0, 8.0]).tolist()
    [0.0, 2.0, 6.0]
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        activations.check_relu_arguments(negative_slope, max_value, threshold)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(_Elementwise):
    """`x` where it is positive, else `negative_slope * x` (Keras `LeakyReLU`).

    Args:
        negative_slope: Default 0.3.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: the slope is negative.

    >>> import autodan as ad
    >>> ad.layers.LeakyReLU(0.5)([-1.0, 2.0]).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        activations.check_relu_arguments(negative_slope, None, 0.0)
        self.negative_slope = negative_slope

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "negative_slope": self.negative_slope}


class Softmax(_Elementwise):
    """`exp(x) / sum(exp(x))` along one axis or several (Keras `Softmax`).

    Args:
        axis: The axis of the classes, or several. Default -1.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    >>> import autodan as ad
    >>> ad.layers.Softmax()([[1.0, 1.0]]).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, axis: int | tuple[int, ...] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return activations.softmax(inputs, self.axis)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "axis": self.axis}
