"""Layers that act in training only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import random
from autodan._core import Tensor
from autodan.layers.input_spec import Shape
from autodan.layers.layer import Layer


class Dropout(Layer):
    """In training, zero a fraction of the inputs and scale the others up (Srivastava 2014; Keras).

    Input and output have the same shape.

    Args:
        rate: Fraction to drop, between 0 and 1.
        noise_shape: Shape of the mask, broadcast over the input; None entries take the input's
            size. Default: every element is drawn on its own.
        seed: Integer seed. Default: drawn from the global generator.
        kwargs: What `Layer` takes: name, dtype, input_shape.

    Raises:
        ValueError: `rate` lies outside [0, 1].

    >>> import autodan as ad
    >>> layer = ad.layers.Dropout(0.5, seed=1)
    >>> layer(ad.ones((2,))).tolist()
    [1.0, 1.0]
    >>> sorted(set(layer(ad.ones((100,)), training=True).tolist()))
    [0.0, 2.0]
    """

    _casts_integers = True

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(
                f"Dropout: `rate` is the fraction to drop and must lie between 0 and 1. "
                f"Received: rate={rate}."
            )
        self.rate = rate
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed
        self.seed_generator = random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Return the output; the input itself outside training."""
        if not training or not self.rate:
            return inputs
        return random.dropout(inputs, self.rate, self.noise_shape, self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "noise_shape": self.noise_shape,
            "seed": self.seed,
        }
