"""Normalization layers."""

from __future__ import annotations

from typing import Any

from autodan import _core, initializers, ops, regularizers
from autodan._core import Tensor, Variable
from autodan.layers.input_spec import InputSpec, Shape
from autodan.layers.layer import Layer


class BatchNormalization(Layer):
    """Give each feature mean 0 and variance 1, then scale and shift it (Ioffe 2015; Keras).

    In training, the statistics are those of the batch, and moving averages of them are kept:
    `moving = momentum * moving + (1 - momentum) * batch` (the variance is the biased one). Outside
    training, and when the layer is not trainable, the moving averages are used.

    Input and output have the same shape.

    Args:
        axis: The axis of the features. Default -1.
        momentum: Fraction of the moving averages that is kept. Default 0.99.
        epsilon: Added to the variance. Default 1e-3.
        center: Whether to add `beta`. Default True.
        scale: Whether to multiply by `gamma`. Default True.
        beta_initializer: Default "zeros".
        gamma_initializer: Default "ones".
        moving_mean_initializer: Default "zeros".
        moving_variance_initializer: Default "ones".
        beta_regularizer: Penalty on `beta`. Default: none.
        gamma_regularizer: Penalty on `gamma`. Default: none.
        kwargs: What `Layer` takes: name, trainable, dtype, input_shape.

    Raises:
        ValueError: (when built) the size of the axis is unknown.

    >>> import autodan as ad
    >>> layer = ad.layers.BatchNormalization(epsilon=0.0)
    >>> layer([[1.0], [3.0]], training=True).tolist()
    [[-1.0], [1.0]]
    """

    _casts_integers = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape: Shape) -> None:
        """Create gamma, beta and the moving averages."""
        rank = len(input_shape)
        if not -rank <= self.axis < rank:
            raise ValueError(f"axis {self.axis} is out of range for input shape {input_shape}.")
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"axis {self.axis} of the input must have a known size. "
                f"Received input shape {tuple(input_shape)}."
            )
        if self.scale:
            self.gamma = self.add_weight(
                (size,), self.gamma_initializer, regularizer=self.gamma_regularizer, name="gamma"
            )
        if self.center:
            self.beta = self.add_weight(
                (size,), self.beta_initializer, regularizer=self.beta_regularizer, name="beta"
            )
        self.moving_mean = self.add_weight(
            (size,), self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            (size,), self.moving_variance_initializer, trainable=False, name="moving_variance"
        )
        self.input_spec = InputSpec(min_ndim=2, axes={self.axis: size})

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Return the output, and in training move the averages."""
        if not (training and self.trainable):
            return ops.batch_normalization(
                inputs,
                self.moving_mean,
                self.moving_variance,
                self.axis,
                self.beta,
                self.gamma,
                self.epsilon,
            )
        outputs, mean, variance = _core.batch_norm(
            inputs, self.gamma, self.beta, self.axis, self.epsilon
        )
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
        self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
        return outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }
