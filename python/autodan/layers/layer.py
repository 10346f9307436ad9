"""The base class of layers: weights, building at the first call, and tracking of sublayers."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

import numpy as np

from autodan import _core, initializers, regularizers
from autodan._core import Tensor, Variable
from autodan.autograd import no_grad
from autodan.config import standardize_dtype
from autodan.layers.input_spec import (
    InputSpec,
    KerasTensor,
    Shape,
    ShapeLeaf,
    is_shape,
    map_shapes,
    shapes_of,
)
from autodan.layers.tracking import Trackable
from autodan.metrics import Metric
from autodan.utils.arguments import shape_of_sides
from autodan.utils.declared import initial_value
from autodan.utils.naming import nearest, to_snake_case, unique_name
from autodan.utils.rollback import kept_on_error
from autodan.utils.tree import flatten, map_structure


class _CallContext(threading.local):
    """What an inner layer learns from the layers that are calling it."""

    training: bool | None = None
    parent: Layer | None = None
    root: Layer | None = None


_context = _CallContext()


class Layer(Trackable):
    """Weights and a computation on tensors; the class to inherit from (Keras `Layer`).

    A subclass creates weights in `build(input_shape)` with `add_weight` (or in `__init__`) and
    computes in `call(inputs, training=...)`. Layers, variables and metrics that are assigned to
    attributes, alone or in lists and dicts, belong to the layer.

    Args:
        activity_regularizer: Penalty on the layer's output. Default: none.
        trainable: Whether the weights are trained. Default True.
        dtype: Dtype of weights and computation. Default: `config.floatx()`.
        autocast: Whether float inputs are cast to `dtype`. Default True.
        name: Name. Default: the class's name in snake case, made unique.
        kwargs: `input_shape` or `input_dim`: the input of a first layer, without the batch axis.

    Raises:
        TypeError: there are other keyword arguments.

    >>> import autodan as ad
    >>> class Linear(Layer):
    ...     def __init__(self, units=32):
    ...         super().__init__()
    ...         self.units = units
    ...     def build(self, input_shape):
    ...         self.w = self.add_weight((input_shape[-1], self.units), "ones")
    ...         self.b = self.add_weight((self.units,), "zeros")
    ...     def call(self, inputs):
    ...         return inputs @ self.w + self.b
    >>> layer = Linear(2)
    >>> layer([[1.0, 2.0]]).tolist(), layer.count_params()
    ([[3.0, 3.0]], 6)
    """

    # Whether integer inputs are cast to `dtype` as well as floats: true of the layers whose
    # kernels compute with floats only.
    _casts_integers: ClassVar[bool] = False
    _takes_training: ClassVar[bool] = False
    _first_argument: ClassVar[str] = "inputs"
    _UNTRACKED = frozenset({"_added_losses", "_build_shape", "_declared", "_regularized"})
    _UNVERSIONED = frozenset({"_added_losses", "_has_added_losses", "_seen_shape"})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _recording_build(cls.__dict__["build"])  # type: ignore[method-assign]
        parameters = list(inspect.signature(cls.call).parameters)[1:]
        cls._takes_training = "training" in parameters
        cls._first_argument = parameters[0] if parameters else "inputs"

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: str | None = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        input_shape = kwargs.pop("input_shape", None)
        input_dim = kwargs.pop("input_dim", None)
        input_shape = input_dim if input_shape is None else input_shape
        if kwargs:
            self._refuse_arguments(kwargs)
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(
                f"{type(self).__name__}: `name` must be a string without '/'. Received: {name!r}."
            )
        self.name = name if name is not None else unique_name(to_snake_case(type(self).__name__))
        self.path = self.name
        self.dtype = standardize_dtype(dtype)
        self.autocast = autocast
        self.built = False
        self.input_spec: InputSpec | None = None
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._input_shape_arg: Shape | None = (
            None if input_shape is None else shape_of_sides(input_shape)
        )
        self._build_shape: Any = None
        self._seen_shape: Any = None
        self._trainable = bool(trainable)
        self._weights: list[Variable] = []
        # By identity: each variable of this layer, and whether it was made to be trained.
        self._declared: dict[int, tuple[Variable, bool]] = {}
        self._regularized: tuple[tuple[Variable, Any], ...] = ()
        self._added_losses: tuple[Tensor, ...] = ()
        self._has_added_losses = False

    def _refuse_arguments(self, arguments: dict[str, Any]) -> None:
        inits = [vars(c)["__init__"] for c in type(self).__mro__[:-1] if "__init__" in vars(c)]
        names = {n: 0 for init in inits for n in inspect.signature(init).parameters}
        names = {n: 0 for n in names if n not in ("self", "args", "kwargs")} | {"input_shape": 0}
        unknown = next(iter(arguments))
        hint = nearest(unknown, names)
        question = f" Did you mean '{hint}'?" if hint else ""
        raise TypeError(
            f"{type(self).__name__} got an unexpected argument '{unknown}'.{question} "
            f"Valid: {', '.join(sorted(names))}."
        )

    # Sublayers and weights -----------------------------------------------------------------

    def _flatten_layers(self, recursive: bool = True, include_self: bool = True) -> list[Layer]:
        """Return the layers inside this one, depth first, each once."""
        found: dict[int, Layer] = {}
        pending: list[Layer] = [self]
        while pending:
            layer = pending.pop()
            if id(layer) in found:
                continue
            found[id(layer)] = layer
            if recursive or layer is self:
                pending.extend(reversed(list(layer._children(Layer))))
        layers = list(found.values())
        return layers if include_self else layers[1:]

    def _own_variables(self) -> list[Variable]:
        """Return the variables of this layer alone, trained ones first."""
        own = list(self._children(Variable))
        for variable in own:
            self._declared.setdefault(id(variable), (variable, variable.trainable))
        return sorted(own, key=lambda v: not self._declared[id(v)][1])

    def add_weight(
        self,
        shape: int | Sequence[int | None] | None = None,
        initializer: Any = None,
        dtype: str | None = None,
        trainable: bool = True,
        regularizer: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Create a weight of this layer (Keras `Layer.add_weight`).

        Args:
            shape: Shape of the weight. Default: a scalar.
            initializer: Its initial values. Default: glorot_uniform for floats, else zeros.
            dtype: Its dtype. Default: the layer's.
            trainable: Whether it is trained. Default True.
            regularizer: Penalty on it, added to the loss. Default: none.
            name: Its name. Default: "variable", made unique.

        Raises:
            ValueError: the shape has an unknown or a negative side.
        """
        shape = () if shape is None else shape_of_sides(shape)
        if None in shape:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) cannot create weight '{name}' of "
                f"shape {shape}: every side must be known. Give the layer an input whose last "
                "axes have known sizes."
            )
        dtype = self.dtype if dtype is None else standardize_dtype(dtype)
        penalty = regularizers.get(regularizer)
        floating = dtype.startswith("float")
        trainable = trainable and floating
        if initializer is None:
            initializer = "glorot_uniform" if floating else "zeros"
        values = initial_value(initializers.get(initializer), shape, dtype)
        variable = Variable(values, trainable, name or unique_name("variable"), dtype)
        variable.path = f"{self.path}/{variable.name}"
        self._declared[id(variable)] = (variable, trainable)
        variable.trainable = trainable and self._trainable
        self._weights = [*self._weights, variable]
        if penalty is not None:
            self._regularized = (*self._regularized, (variable, penalty))
        return variable

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained; setting it sets all sublayers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = bool(value)
        self._trainable = value
        for variable in self._own_variables():
            variable.trainable = value and self._declared[id(variable)][1]
        for layer in self._children(Layer):
            layer.trainable = value

    @property
    def variables(self) -> list[Variable]:
        """All variables of the layer and its sublayers."""
        found = {id(v): v for layer in self._flatten_layers() for v in layer._own_variables()}
        return list(found.values())

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that are trained; none if `trainable` is False."""
        return [v for v in self.variables if v.trainable] if self._trainable else []

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The variables that are not trained."""
        variables = self.variables
        return [v for v in variables if not v.trainable] if self._trainable else variables

    weights = variables
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables

    def get_weights(self) -> list[np.ndarray]:
        """Return the values of `weights` as NumPy arrays."""
        return [np.array(variable.numpy()) for variable in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of `weights`.

        Raises:
            ValueError: the number or a shape of the arrays differs; then nothing is changed.
        """
        variables = self.weights
        if len(weights) != len(variables):
            raise ValueError(
                f"Layer '{self.name}' has {len(variables)} weights, but set_weights received "
                f"{len(weights)} arrays. Build the layer first if it has none yet."
            )
        for variable, value in zip(variables, weights, strict=True):
            shape = tuple(value.shape) if hasattr(value, "shape") else np.shape(value)
            if shape != tuple(variable.shape):
                raise ValueError(
                    f"Layer '{self.name}': weight '{variable.path}' has shape "
                    f"{tuple(variable.shape)}, but set_weights received an array of shape {shape}."
                )
        with kept_on_error(variables):
            for variable, value in zip(variables, weights, strict=True):
                variable.assign(value)

    def count_params(self) -> int:
        """Return the number of scalars in the weights.

        Raises:
            ValueError: the layer is not built yet.
        """
        if not self.built:
            raise ValueError(
                f"Layer '{self.name}' has no weights yet. Build it first by calling it on data, "
                "or with build(input_shape)."
            )
        return sum(math.prod(variable.shape) for variable in self.weights)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Know the variables of a copy, which are others."""
        vars(self).update(state)
        declared = {id(variable): (variable, made) for variable, made in self._declared.values()}
        object.__setattr__(self, "_declared", declared)

    # Losses --------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the loss, usually from within `call`; the next call clears it."""
        self._added_losses = (*self._added_losses, *flatten(loss))
        (_context.root or self)._has_added_losses = True

    @property
    def losses(self) -> list[Tensor]:
        """The penalties of the regularizers and what `add_loss` was given."""
        losses: list[Tensor] = []
        for layer in self._flatten_layers():
            losses.extend(layer._added_losses)
            losses.extend(penalty(v) for v, penalty in layer._regularized if v.trainable)
        return losses

    def _clear_losses(self) -> None:
        for layer in self._flatten_layers():
            layer._added_losses = ()
        self._has_added_losses = False

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the layer and its sublayers."""
        return [m for layer in self._flatten_layers() for m in layer._children(Metric)]

    # Building and calling ------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Create the weights for an input shape; subclasses override it.

        Args:
            input_shape: Shape with the batch axis, or a list or dict of shapes.
        """
        self._build_shape = input_shape
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; subclasses override it."""
        raise NotImplementedError(f"{type(self).__name__} must implement call(self, inputs).")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape for an input shape with the batch axis.

        By default the layer is tried on zeros of two sizes: sides that differ are unknown.

        Raises:
            ValueError: the layer cannot be called on zeros.
        """
        sizes = [self._try_shape(input_shape, fill) for fill in (2, 3)]

        def merge(first: Shape, second: Shape) -> Shape:
            return tuple(a if a == b else None for a, b in zip(first, second, strict=True))

        return map_shapes(merge, *sizes)

    def _try_shape(self, input_shape: Any, fill: int) -> Any:
        def zeros(shape: Shape) -> Tensor:
            return _core.zeros(tuple(fill if s is None else s for s in shape), self.dtype)

        inputs = map_shapes(zeros, input_shape)
        with no_grad(), undo_build_on_error(self):
            outputs = self(inputs, training=False)
        # A trial's losses are no part of the first step's.
        self._clear_losses()
        return map_structure(ShapeLeaf, outputs)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the KerasTensor of the output for one of the input."""
        shape = self.compute_output_shape(shapes_of(inputs))
        return map_shapes(lambda s: KerasTensor(s, self.dtype), shape)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the layer if needed, cast the inputs and `call` it.

        Args:
            args: The inputs: tensors, arrays, or structures of them.
            kwargs: `training`, by default that of the calling layer, and what `call` takes.

        Raises:
            ValueError: an input does not fit; the message names the layer, both shapes and a fix.
        """
        if not args and self._first_argument in kwargs:
            args = (kwargs.pop(self._first_argument),)
        dtype = self.dtype
        if len(args) != 1 or type(args[0]) is not Tensor or args[0].dtype != dtype:
            args = tuple(self._convert(x) for x in args)
        inputs = args[0] if args else None
        if isinstance(inputs, (str, bytes)) or (inputs is None and self.input_spec is not None):
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}) needs a tensor or an array. "
                f"Received: {inputs!r:.100}."
            )
        if not self.built:
            self._build_for(shapes_of(inputs), getattr(inputs, "dtype", None), _context.parent)
        if type(inputs) is KerasTensor:
            self._check_input(inputs.shape, inputs.dtype)
            return self.compute_output_spec(inputs)
        if self.input_spec is not None and isinstance(inputs, Tensor):
            shape = inputs.shape
            if shape != self._seen_shape:
                self._check_input(shape, inputs.dtype)
                self._seen_shape = shape

        context = _context
        parent, outer_training = context.parent, context.training
        training = kwargs.pop("training", None)
        if training is None:
            training = outer_training
        if training is not None and self._takes_training:
            kwargs["training"] = training
        context.parent, context.training = self, training
        if parent is None:
            context.root = self
            if self._has_added_losses:
                self._clear_losses()
        try:
            outputs = self.call(*args, **kwargs)
            if self.activity_regularizer is not None:
                self.add_loss([self.activity_regularizer(y) for y in flatten(outputs)])
        except (ValueError, TypeError) as error:
            self._raise_named(error)
        finally:
            context.parent, context.training = parent, outer_training
            if parent is None:
                context.root = None
        return outputs

    def _convert(self, x: Any) -> Any:
        """Return tensors for arrays, in the layer's dtype; leave everything else alone."""
        if isinstance(x, np.ndarray | np.generic):
            x = _core.asarray(x)
        if isinstance(x, Tensor):
            dtype = x.dtype
            if dtype == self.dtype or not self.autocast:
                return x
            if dtype.startswith("float") or self._casts_integers:
                return _core.cast(x, self.dtype)
            return x
        if isinstance(x, dict):
            flatten(x)  # refuses what holds itself
            return {key: self._convert(value) for key, value in x.items()}
        if isinstance(x, (list, tuple)) and x:
            if isinstance(next(iter(flatten(x)), None), (bool, int, float)):
                return self._convert(_core.asarray(x))
            return map_structure(self._convert, x)
        return x

    def _build_for(self, shapes: Any, dtype: str | None, parent: Layer | None) -> None:
        """Build for the shapes of the inputs, or leave the layer as it was."""
        self.path = f"{parent.path}/{self.name}" if parent is not None else self.name
        self._check_input(shapes, dtype)
        with undo_build_on_error(self):
            try:
                self.build(shapes)
            except (ValueError, TypeError) as error:
                self._raise_named(error)
        self._build_shape = shapes
        self.built = True

    def _raise_named(self, error: Exception) -> NoReturn:
        """Raise the error with the layer's name in front, unless an inner layer's is there."""
        if type(error) not in (ValueError, TypeError) or str(error).startswith(
            ("Layer '", "Model '")
        ):
            raise error
        name = f"Layer '{self.name}' ({type(self).__name__})"
        raise type(error)(f"{name}: {error}") from error

    def _check_input(self, shape: Any, dtype: str | None) -> None:
        spec = self.input_spec
        if spec is None or not is_shape(shape):
            return
        problem = spec.problem(shape, dtype)
        if problem is not None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) cannot take an input of shape "
                f"{tuple(shape)}: {problem}. {spec.remedy(shape)}"
            )

    # Configuration -------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; subclasses add theirs."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": self.dtype,
        }
        if self._input_shape_arg is not None:
            config["input_shape"] = self._input_shape_arg
        if not self.autocast:
            config["autocast"] = False
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make a layer from `get_config()`'s result; weights are not part of it."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _recording_build(build: Callable[..., None]) -> Callable[..., None]:
    """Wrap `build` so that it also notes the shape and marks the layer as built."""

    @functools.wraps(build)
    def wrapper(self: Layer, input_shape: Any = None, *args: Any, **kwargs: Any) -> None:
        context = _context
        parent, context.parent = context.parent, self
        try:
            build(self, input_shape, *args, **kwargs)
        finally:
            context.parent = parent
        self._build_shape = input_shape
        self.built = True

    return wrapper


@contextmanager
def undo_build_on_error(*layers: Layer) -> Iterator[None]:
    """Give layers, and those inside them, their earlier attributes back if an error occurs.

    >>> import autodan as ad
    >>> layer = ad.layers.Dense(2)
    >>> try:
    ...     with undo_build_on_error(layer):
    ...         layer.build((None, 3))
    ...         raise ValueError
    ... except ValueError:
    ...     layer.built
    False
    """
    inner = [layer for root in layers for layer in root._flatten_layers()]
    states = [(layer, {**vars(layer), "_tracked": dict(layer._tracked)}) for layer in inner]
    try:
        yield
    except BaseException:
        for layer, attributes in states:
            vars(layer).clear()
            vars(layer).update(attributes)
        _core._note_change()
        raise
