"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import ops
from autodan._core import Tensor
from autodan.config import standardize_data_format
from autodan.layers.input_spec import InputSpec, Shape
from autodan.layers.layer import Layer
from autodan.ops.window import check_padding, windowed_shape
from autodan.utils.arguments import pair


class _Pooling2D(Layer):
    """What the two pooling layers share: a window that slides over images."""

    _casts_integers = True

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = check_padding(padding)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape.

        Raises:
            ValueError: the window is larger than the image.
        """
        owner = f"Layer '{self.name}' ({type(self).__name__})"
        return windowed_shape(
            owner, input_shape, self.pool_size, self.strides, self.padding, self.data_format
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling2D):
    """Take the maximum of each window of an image (Keras `MaxPooling2D`).

    Input: shape (N, H, W, C), or (N, C, H, W) for "channels_first".

    Args:
        pool_size: Size of the window: an integer or two. Default (2, 2).
        strides: Step of the window. Default: `pool_size`.
        padding: "valid" (none, default) or "same".
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: a number is not positive, or a name is unknown.

    >>> import autodan as ad
    >>> x = ad.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
    >>> ad.layers.MaxPooling2D(2)(x).tolist()
    [[[[4.0]]]]
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return ops.max_pool(inputs, self.pool_size, self.strides, self.padding, self.data_format)


class AveragePooling2D(_Pooling2D):
    """Take the mean of each window of an image, padding not counted (Keras `AveragePooling2D`).

    Input: shape (N, H, W, C), or (N, C, H, W) for "channels_first".

    Args:
        pool_size: Size of the window: an integer or two. Default (2, 2).
        strides: Step of the window. Default: `pool_size`.
        padding: "valid" (none, default) or "same".
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: a number is not positive, or a name is unknown.

    >>> import autodan as ad
    >>> x = ad.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
    >>> ad.layers.AveragePooling2D(2)(x).tolist()
    [[[[2.5]]]]
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        return ops.average_pool(
            inputs, self.pool_size, self.strides, self.padding, self.data_format
        )


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
