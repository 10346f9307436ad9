"""The base class of models: layers that can be trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autodan import _core, losses, optimizers
from autodan._core import Tensor
from autodan.autograd import no_grad
from autodan.layers.input_spec import map_shapes
from autodan.layers.layer import Layer, undo_build_on_error
from autodan.metrics import Metric
from autodan.models.summary import print_summary
from autodan.models.training import Trainer
from autodan.utils.naming import lookup

if TYPE_CHECKING:
    from autodan.models.explanation import StepExplanation


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

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return how the model was compiled, None if it was not (Keras `get_compile_config`).

        Raises:
            ValueError: a part cannot be described, as a learning rate that is a function.

        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> model.get_compile_config()["loss"]
        'mse'
        """
        if not self.compiled:
            return None
        named = isinstance(self.loss, str)
        metrics = self._compile_metrics
        return {
            "optimizer": None if self.optimizer is None else optimizers.serialize(self.optimizer),
            "loss": self.loss if named else losses.serialize(self._compile_loss),
            "loss_weights": self._loss_weight,
            **({} if metrics is None else metrics.get_config()),
            "run_eagerly": self.run_eagerly,
            "steps_per_execution": self.steps_per_execution,
            "jit_compile": self.jit_compile,
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile the model as `get_compile_config` says (Keras `compile_from_config`).

        Raises:
            ValueError: the config is not such a one.

        >>> import autodan as ad
        >>> first = ad.Sequential([ad.layers.Dense(1)])
        >>> first.compile("sgd", ad.losses.Huber())
        >>> second = ad.Sequential([ad.layers.Dense(1)])
        >>> second.compile_from_config(first.get_compile_config())
        >>> second.optimizer, second.loss
        (<SGD name=SGD>, <Huber name=huber_loss>)
        """
        if not isinstance(config, Mapping) or not {"optimizer", "loss"} <= set(config):
            raise ValueError("compile_from_config needs what get_compile_config() has returned.")
        optimizer = config["optimizer"]
        self._compile_as(config, None if optimizer is None else optimizers.deserialize(optimizer))

    def _compile_as(self, config: Mapping[str, Any], optimizer: Any) -> None:
        loss = config["loss"]
        arguments = {key: value for key, value in config.items() if key != "optimizer"}
        loss = losses.deserialize(loss) if isinstance(loss, Mapping) else loss
        self.compile(**{**arguments, "optimizer": optimizer, "loss": loss})

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        include_optimizer: bool = True,
    ) -> None:
        """Save the model: architecture, weights, compilation, optimizer, random streams (Keras).

        The file is written at once and whole; `models.load_model` makes an equal model of it, and
        `fit` goes on with the same bits as if it had never stopped. Any name will do: the content
        is always of the format in docs/files.md.

        Args:
            filepath: The file.
            overwrite: Whether a file that is there is replaced. Default True.
            include_optimizer: Whether the optimizer's state is saved too. Default True.

        Raises:
            FileExistsError: it is there and must not be replaced.
            NotImplementedError: a class of your own has no `get_config`; use `save_weights` then.
            ValueError: a part cannot be described, as a learning rate that is a function.
            OSError: the file cannot be written. In all cases the old file is as before.

        >>> import tempfile
        >>> import autodan as ad
        >>> model = ad.Sequential([ad.Input((3,)), ad.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     again = ad.models.load_model(f"{folder}/model.keras")
        >>> bool((again(ad.ones((1, 3))) == model(ad.ones((1, 3)))).all())
        True
        """
        from autodan.models import saving

        saving.save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Save the weights alone (Keras `Model.save_weights`).

        Args:
            filepath: The file.
            overwrite: Whether a file that is there is replaced. Default True.

        Raises:
            FileExistsError: it is there and must not be replaced.
            ValueError: the model has no weights yet.
            OSError: the file cannot be written; the old file is as before.
        """
        from autodan.models import saving

        saving.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
        """Take the weights of a file, all of them or none (Keras `Model.load_weights`).

        The weights are told apart by their place in the model, not by the layers' names. A file
        of `save` serves as well as one of `save_weights`.

        Args:
            filepath: The file.
            skip_mismatch: Whether weights that do not fit are left as they are, with a warning.
                Default False.

        Raises:
            FormatError: the file is damaged or no file of a model's.
            ValueError: the weights do not fit; the message lists them.
            OSError: the file cannot be read.

        >>> import tempfile
        >>> import autodan as ad
        >>> first, second = (ad.Sequential([ad.Input((3,)), ad.layers.Dense(2)]) for _ in "12")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first.save_weights(f"{folder}/model.weights.h5")
        ...     second.load_weights(f"{folder}/model.weights.h5")
        >>> bool((first(ad.ones((1, 3))) == second(ad.ones((1, 3)))).all())
        True
        """
        from autodan.models import saving

        saving.load_weights(self, filepath, skip_mismatch)

    def to_json(self) -> str:
        """Return the architecture as JSON, for `models.model_from_json` (Keras `to_json`).

        >>> import autodan as ad
        >>> ad.models.model_from_json(ad.Sequential([ad.Input((3,))], name="m").to_json()).name
        'm'
        """
        from autodan.models import saving

        return saving.model_to_json(self)

    def explain_step(
        self,
        x: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        kind: str = "train",
        profile: bool = False,
        seconds: float = 1.0,
        plot: str | os.PathLike[str] | None = None,
        print_fn: Callable[[str], Any] | None = None,
    ) -> StepExplanation:
        """Print what one step runs, kernel by kernel, and where its time goes.

        For each kernel the table has what it computes, its operands, operations and bytes, and the
        least time to expect of it on this machine; with `profile=True` also the time that it takes.
        The model stays as it is, but one that is not built yet is built, as `fit` would.

        Args:
            x: Data as for `fit`, of which the first batch is taken. Default: the step of the
                largest batches that the model has run, on made-up data; of a model that has not
                run, the step for its input shape.
            y: Targets, for "train" and "test".
            sample_weight: Weight of each sample.
            batch_size: Default 32, without `x` that of the step that was run.
            kind: "train" (default), "test" or "predict".
            profile: Whether to run the step and measure. Default False.
            seconds: How long to measure. Default 1.
            plot: A file (.png, .svg, .pdf) for a picture of it. Default: none.
            print_fn: Receives the whole text. Default: `print`.

        Returns:
            A `StepExplanation`, with `kernels`, `memory`, `plot()`, `text()` and `to_dict()`.

        Raises:
            ImportError: a plot is wanted and matplotlib is not installed.
            RuntimeError: the model is not compiled.
            ValueError: there is no data and none can be made up, or it does not fit the model.

        >>> import autodan as ad
        >>> model = ad.Sequential([ad.Input((3,)), ad.layers.Dense(2, activation="relu")])
        >>> step = model.explain_step(kind="predict", print_fn=lambda text: None)
        >>> [kernel.name for kernel in step.kernels], step.kernels[0].meaning.text
        (['Linear(Relu)'], 'matrix product + bias + relu')
        """
        from autodan.models import explain

        return explain.explain_step(
            self, x, y, sample_weight, batch_size, kind, profile, seconds, plot, print_fn
        )

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
