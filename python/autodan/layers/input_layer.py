"""Where data enters a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan.layers.input_spec import KerasTensor, Shape
from autodan.layers.layer import Layer
from autodan.utils.arguments import shape_of_sides


class InputLayer(Layer):
    """The first entry of a model: says what shape its inputs have (Keras `InputLayer`).

    Args:
        shape: Shape without the batch axis.
        batch_size: Size of the batch. Default: any.
        dtype: Dtype of the data. Default: `config.floatx()`.
        batch_shape: Shape with the batch axis, in place of the first two.
        name: Name. Default: made up.

    Raises:
        ValueError: there is no shape, or two.

    >>> InputLayer((28, 28, 1)).batch_shape
    (None, 28, 28, 1)
    """

    def __init__(
        self,
        shape: int | Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        shape = input_shape if shape is None else shape
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                "Input needs either `shape`, without the batch axis, or `batch_shape`, with it. "
                f"Received: shape={shape}, batch_shape={batch_shape}."
            )
        if shape is not None:
            batch_shape = (batch_size, *shape_of_sides(shape))
        self.batch_shape: Shape = shape_of_sides(batch_shape or ())
        self.output = KerasTensor(self.batch_shape, self.dtype, self.name)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the inputs."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype, "batch_shape": self.batch_shape}


def Input(  # noqa: N802 - the name is Keras's
    shape: int | Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> KerasTensor:
    """Say what shape a model's inputs have (Keras `Input`).

    Args:
        shape: Shape without the batch axis; None entries are unknown.
        batch_size: Size of the batch. Default: any.
        dtype: Dtype of the data. Default: `config.floatx()`.
        batch_shape: Shape with the batch axis, in place of the first two.
        name: Name. Default: made up.

    Returns:
        A tensor without values, for the start of a `Sequential`.

    Raises:
        ValueError: there is no shape, or two.

    >>> Input((28, 28, 1)).shape
    (None, 28, 28, 1)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name).output
