"""Layers that only change the shape."""

from __future__ import annotations

import math
from typing import Any

from autodan import ops
from autodan._core import Tensor
from autodan.config import standardize_data_format
from autodan.layers.input_spec import InputSpec, Shape
from autodan.layers.layer import Layer


class Flatten(Layer):
    """Join all axes but the batch into one (Keras `Flatten`).

    Input: shape (N, ...); output: shape (N, product of the other sides).

    Args:
        data_format: "channels_first" moves axis 1 to the end first, so that the order is the same
            as that of "channels_last". Default: `image_data_format()`.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: the layout has an unknown name.

    >>> import autodan as ad
    >>> ad.layers.Flatten()(ad.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the output."""
        shape = ops.shape(inputs)
        if self.data_format == "channels_first" and len(shape) > 2:
            inputs = ops.moveaxis(inputs, 1, -1)
        return ops.reshape(inputs, (*shape[:1], math.prod(shape[1:])))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, product of the other sides), None if one of them is unknown."""
        sides = [side for side in input_shape[1:] if side is not None]
        known = len(sides) == len(input_shape) - 1
        return (input_shape[0], math.prod(sides) if known else None)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "data_format": self.data_format}
