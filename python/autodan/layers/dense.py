"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from autodan import _core, activations, initializers, ops, regularizers
from autodan._core import Tensor, Variable
from autodan.layers.input_spec import InputSpec, Shape
from autodan.layers.layer import Layer
from autodan.utils.arguments import positive_integer


class Dense(Layer):
    """`activation(inputs @ kernel + bias)`, over the last axis (Keras `Dense`).

    Input: shape (N, ..., in); output: shape (N, ..., units).

    Args:
        units: Size of the output's last axis, 1 or more.
        activation: Activation, or its name. Default: none.
        use_bias: Whether a bias is added. Default True.
        kernel_initializer: For the kernel, shape (in, units). Default "glorot_uniform".
        bias_initializer: For the bias, shape (units,). Default "zeros".
        kernel_regularizer: Penalty on the kernel. Default: none.
        bias_regularizer: Penalty on the bias. Default: none.
        activity_regularizer: Penalty on the output. Default: none.
        kwargs: What `Layer` takes: name, trainable, dtype, input_shape.

    Raises:
        ValueError: `units` is not a positive integer, or a name is unknown.

    >>> import autodan as ad
    >>> layer = ad.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    >>> layer([[1.0, 2.0, 3.0]]).tolist()
    [[7.0, 7.0]]
    """

    _casts_integers = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive_integer("Dense", "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias: Variable | None = None
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: Shape) -> None:
        """Create kernel and bias."""
        depth = input_shape[-1]
        self.kernel = self.add_weight(
            (depth, self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias"
            )
        self.input_spec = InputSpec(min_ndim=2, axes={-1: depth})  # type: ignore[dict-item]

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        if self.bias is None:
            return self.activation(ops.matmul(inputs, self.kernel))
        name, rest = activations.split(self.activation)
        y = _core.linear(inputs, self.kernel, self.bias, name)
        return y if rest is None else rest(y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with `units` as its last side."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }
