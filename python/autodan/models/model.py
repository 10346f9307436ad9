"""The base class of models: layers that can be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autodan import _core
from autodan._core import Tensor
from autodan.autograd import no_grad
from autodan.layers.input_spec import map_shapes
from autodan.layers.layer import Layer, undo_build_on_error
from autodan.metrics import Metric
from autodan.models.summary import print_summary
from autodan.models.training import Trainer
from autodan.utils.naming import lookup


class Model(Trainer):
    """A layer with `compile`, `fit`, `evaluate` and `predict` (Keras `Model`).

    A subclass creates its layers in `__init__` and applies them in `call`.

    Args:
        kwargs: What `Layer` takes: name, trainable, dtype.

    >>> import autodan as ad
    >>> class Classifier(ad.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = ad.layers.Dense(8, activation="relu")
    ...         self.out = ad.layers.Dense(2, activation="softmax")
    ...     def call(self, inputs):
    ...         return self.out(self.hidden(inputs))
    >>> model = Classifier()
    >>> model(ad.zeros((5, 3))).shape, len(model.layers)
    ((5, 2), 2)
    """

    @property
    def layers(self) -> list[Layer]:
        """The layers directly inside this model."""
        return self._flatten_layers(recursive=False, include_self=False)

    @property
    def metrics(self) -> list[Metric]:
        """The loss tracker, the compiled metrics, and those assigned to attributes."""
        own: list[Metric] = []
        if self._loss_tracker is not None:
            own.append(self._loss_tracker)
        if self._compile_metrics is not None:
            own.append(self._compile_metrics)
        return own + super().metrics

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics."""
        return [metric.name for metric in self.metrics]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return a layer by name or by index (Keras `Model.get_layer`).

        Raises:
            ValueError: there is no such layer, or not exactly one of name and index is given.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError("get_layer needs either `name` or `index`.")
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"Model '{self.name}' has {len(layers)} layers, none at {index}.")
            return layers[index]
        return lookup("layer", str(name), {layer.name: layer for layer in layers})

    def build(self, input_shape: Any = None) -> None:
        """Create the weights by calling the model on zeros.

        Args:
            input_shape: Shape with the batch axis, or a list or dict of shapes.

        Raises:
            ValueError: there is no shape.
        """
        if input_shape is None:
            raise ValueError(
                f"Model '{self.name}': build needs an input shape with the batch axis, such as "
                "(None, 784). Or call the model on data."
            )

        def zeros(shape: Sequence[int | None]) -> Tensor:
            return _core.zeros(tuple(1 if side is None else side for side in shape), self.dtype)

        if isinstance(input_shape, list) and all(isinstance(s, int | None) for s in input_shape):
            input_shape = tuple(input_shape)
        inputs = map_shapes(zeros, input_shape)
        with no_grad(), undo_build_on_error(self):
            self.built = True
            self(inputs, training=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the model; a first call that fails leaves no layer half built."""
        if self.built:
            return super().__call__(*args, **kwargs)
        with undo_build_on_error(self):
            return super().__call__(*args, **kwargs)

    def _build_for(self, shapes: Any, dtype: str | None, parent: Layer | None) -> None:
        if type(self).build is not Model.build:
            super()._build_for(shapes, dtype, parent)
            return
        # The call that asks for it creates the weights.
        self.path = f"{parent.path}/{self.name}" if parent is not None else self.name
        self._build_shape = shapes
        self.built = True

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers and the numbers of parameters (Keras `Model.summary`).

        Args:
            line_length: Width of the table. Default: 88, or what the terminal has room for.
            positions: Where the columns end, as fractions of the width.
            print_fn: Receives the whole text. Default: `print`.
            expand_nested: Whether the layers of inner models are listed. Default False.
            show_trainable: Whether a column says what is trained. Default False.
            layer_range: Patterns of the first and last layer to list. Default: all layers.

        >>> import autodan as ad
        >>> ad.Sequential([ad.Input((3,)), ad.layers.Dense(2, name="d")], name="m").summary(60)
        Model: "m"
        ┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓
        ┃ Layer (type)             ┃ Output Shape      ┃   Param # ┃
        ┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩
        │ d (Dense)                │ (None, 2)         │         8 │
        └──────────────────────────┴───────────────────┴───────────┘
         Total params: 8 (32.00 B)
         Trainable params: 8 (32.00 B)
         Non-trainable params: 0 (0.00 B)
        """
        print_summary(
            self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range
        )
