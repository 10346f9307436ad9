"""A model whose layers follow each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar

from autodan import ops
from autodan._core import Tensor
from autodan.layers import CLASSES, InputLayer, deserialize, serialize
from autodan.layers.fusion import pools_at_once
from autodan.layers.input_spec import KerasTensor, Shape, is_shape
from autodan.layers.layer import Layer, undo_build_on_error
from autodan.models.model import Model
from autodan.utils.custom_objects import CustomObjectScope


class Sequential(Model):
    """Layers applied one after another (Keras `Sequential`).

    With an `Input` at the start, or `input_shape=` on the first layer, weights are created as
    layers are added; without, at the first call.

    Args:
        layers: List of layers. Default: none.
        trainable: Whether the weights are trained. Default True.
        name: Name. Default: "sequential", made unique.
        kwargs: What `Layer` takes: dtype.

    Raises:
        TypeError: something in the list is no layer.
        ValueError: a layer does not fit the one before, or two have the same name.

    >>> import autodan as ad
    >>> model = ad.Sequential([ad.Input((4,)), ad.layers.Dense(3), ad.layers.Dense(2)])
    >>> model.output_shape, model.count_params()
    ((None, 2), 23)
    """

    _UNTRACKED = Model._UNTRACKED | {"_shapes"}
    _PATHS: ClassVar[dict[str, str]] = {
        **Model._PATHS,
        "_input_layer": "input",
        "_sequence": "layers",
    }

    def __init__(
        self,
        layers: Sequence[Any] | None = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=trainable, name=name, **kwargs)
        self._input_layer: InputLayer | None = None
        self._sequence: list[Layer] = []
        # The shapes between the layers, once the input's is known: one more than layers.
        self._shapes: tuple[Any, ...] = ()
        if layers is not None and not isinstance(layers, (list, tuple)):
            raise TypeError(
                f"Sequential needs a list of layers. Received: {type(layers).__name__}."
            )
        for layer in layers or ():
            self.add(layer)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return list(self._sequence)

    @property
    def input_shape(self) -> Any:
        """Shape of the input with the batch axis.

        Raises:
            AttributeError: it is not known yet.
        """
        return self._known_shapes()[0]

    @property
    def output_shape(self) -> Any:
        """Shape of the output with the batch axis.

        Raises:
            AttributeError: the input's shape is not known yet.
        """
        return self._known_shapes()[-1]

    def _known_shapes(self) -> tuple[Any, ...]:
        if not self._shapes:
            raise AttributeError(
                f"Model '{self.name}' does not know its input shape yet. Start it with an Input, "
                "or call it on data."
            )
        return self._shapes

    def add(self, layer: Any) -> None:
        """Append a layer (Keras `Sequential.add`).

        Args:
            layer: A layer; as the first entry also an `Input`.

        Raises:
            TypeError: it is no layer.
            ValueError: it does not fit, or its name is taken; then the model is as before.
        """
        if isinstance(layer, KerasTensor):
            layer = InputLayer(batch_shape=layer.shape, dtype=layer.dtype, name=layer.name)
        if isinstance(layer, InputLayer):
            if self._sequence or self._input_layer is not None:
                raise ValueError(f"Model '{self.name}': an Input can only be the first entry.")
            self._input_layer = layer
            self._shapes = (layer.batch_shape,)
            return
        if not isinstance(layer, Layer):
            raise TypeError(
                f"Model '{self.name}': expected a layer. Received: {layer!r}"
                + (". Add parentheses to create the layer." if isinstance(layer, type) else ".")
            )
        if layer.name in map(attrgetter("name"), self._sequence):
            raise ValueError(
                f"Model '{self.name}' already has a layer named '{layer.name}'. Each layer needs "
                "a name of its own; the same layer cannot be added twice."
            )
        shapes = self._shapes
        if not self._sequence and not shapes and layer._input_shape_arg is not None:
            shapes = ((None, *layer._input_shape_arg),)
        if shapes:
            shapes = (*shapes, self._connect(layer, shapes[-1]))
        self._sequence = [*self._sequence, layer]
        self._shapes = shapes
        self._mark_built()

    def pop(self) -> Layer:
        """Remove the last layer and return it (Keras `Sequential.pop`).

        Raises:
            ValueError: there is none.
        """
        if not self._sequence:
            raise ValueError(f"Model '{self.name}' has no layers to remove.")
        *self._sequence, last = self._sequence
        self._shapes = self._shapes[: len(self._sequence) + 1] if self._sequence else ()
        if not self._sequence and self._input_layer is not None:
            self._shapes = (self._input_layer.batch_shape,)
        self._mark_built()
        return last

    def _connect(self, layer: Layer, shape: Any) -> Any:
        """Build a layer for the shape before it and return the shape after it."""
        with undo_build_on_error(layer):
            if layer.built:
                layer._check_input(shape, None)
            else:
                layer._build_for(shape, None, self)
            return layer.compute_output_shape(shape)

    def _mark_built(self) -> None:
        self.built = bool(self._shapes and self._sequence)
        self._build_shape = self._shapes[0] if self._shapes else None

    def build(self, input_shape: Any = None) -> None:
        """Create the weights of all layers.

        Args:
            input_shape: Shape with the batch axis. Default: that of the Input.

        Raises:
            ValueError: the shape is not known, or a layer does not fit; then no layer is built.
        """
        if input_shape is None:
            input_shape = self._known_shapes()[0]
        shape = tuple(input_shape)
        if not is_shape(shape):
            raise ValueError(f"the model takes one input. Received inputs of shapes {shape}.")
        shapes: tuple[Any, ...] = (shape,)
        with undo_build_on_error(self):
            for layer in self._sequence:
                shapes = (*shapes, self._connect(layer, shapes[-1]))
        self._shapes = shapes

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the layers; `training` reaches them through the calling context."""
        if self._shapes:
            inputs = self._fit_input(inputs)
        layers, shapes = self._sequence, self._shapes
        at = 0
        while at < len(layers):
            layer, after = layers[at], at + 1
            if (
                shapes
                and after < len(layers)
                and pools_at_once(layer, layers[after], shapes[after])
            ):
                inputs = layer(inputs, max_pool=True)
                after += 1
            else:
                inputs = layer(inputs)
            at = after
        return inputs

    def _fit_input(self, inputs: Tensor) -> Tensor:
        """Accept images without a channel axis of size 1, as Keras does; refuse other shapes."""
        expected: Shape = self._shapes[0]
        shape = getattr(inputs, "shape", None)
        if shape is None:
            raise ValueError(
                f"the model takes one input of shape {expected}. Received "
                f"{type(inputs).__name__} of {len(inputs)}. Join the arrays into one, for example "
                "with np.stack."
            )
        if _accepts(expected, shape):
            return inputs
        if expected[-1] == 1 and _accepts(expected[:-1], shape):
            return ops.expand_dims(inputs, -1)
        if shape and shape[-1] == 1 and _accepts(expected, shape[:-1]):
            return ops.squeeze(inputs, -1)
        raise ValueError(
            f"Model '{self.name}' expects inputs of shape {expected} but received shape "
            f"{tuple(shape)}. {_remedy(expected, shape)}"
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape for an input shape with the batch axis."""
        for layer in self._sequence:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return name, input shape and the layers' configs."""
        entries = [self._input_layer] if self._input_layer is not None else []
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype,
            "layers": [serialize(layer) for layer in [*entries, *self._sequence]],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Sequential:
        """Make a model from `get_config()`'s result; weights are not part of it.

        Args:
            config: The config.
            custom_objects: Layers of your own, by name.
        """
        arguments = dict(config)
        with CustomObjectScope(custom_objects):
            layers = [deserialize(entry) for entry in arguments.pop("layers", ())]
        return cls(layers, **arguments)


# A model may be a layer of another one.
CLASSES["Sequential"] = Sequential


def _accepts(expected: Shape, shape: Shape) -> bool:
    return len(shape) == len(expected) and all(
        want is None or want == got for want, got in zip(expected[1:], shape[1:], strict=True)
    )


def _remedy(expected: Shape, shape: Shape) -> str:
    sides = expected[1:]
    if shape == sides:
        return "Add the batch axis: x[None]."
    known = [side for side in sides if side is not None]
    if len(known) == len(sides) and math.prod(known) == math.prod(side or 0 for side in shape[1:]):
        return f"Reshape the data: x.reshape((-1, {', '.join(map(str, sides))}))."
    return f"Give it samples of shape {sides}, or build the model for samples of {shape[1:]}."
