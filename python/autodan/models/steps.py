"""One step of training: loss, gradient, update, metrics; and what is checked before the first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from autodan import _core, optimizers, random
from autodan._core import Tensor, Variable
from autodan.autograd import no_grad
from autodan.layers.layer import Layer, undo_build_on_error
from autodan.losses import Loss
from autodan.metrics import Mean, Metric
from autodan.models.checks import check_finite, check_labels
from autodan.models.compiled import CompiledMetrics, resolve_loss, takes_integer_labels
from autodan.models.data import ArrayData, Rows, StreamData, unpack_x_y_sample_weight
from autodan.models.programs import Programs
from autodan.tracing import CompiledStep, is_tracing
from autodan.utils.signals import Undisturbed
from autodan.utils.tree import flatten

Logs = dict[str, Any]


@dataclass(slots=True)
class _Plan:
    """What the steps of a loop ask the model again and again, until something is frozen."""

    trainable_changes: int
    variables: list[Variable]
    metrics: list[Metric]
    penalized: bool
    state: list[Variable]
    generators: list[random.SeedGenerator]


class Steps(Layer):
    """`compile`, and the steps that the loops repeat; a subclass may override them."""

    _UNTRACKED = Layer._UNTRACKED | {"_compile_metrics", "_loss_tracker", "_shuffle"}
    _UNVERSIONED = Layer._UNVERSIONED | {
        "epochs_trained",
        "history",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "_plan",
        "_shuffle",
        "_shuffle_seeding",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compiled = False
        self.stop_training = False
        self.optimizer: Any = None
        self.loss: Any = None
        self.history: Any = None
        # The epochs completed: fit(..., initial_epoch=model.epochs_trained) goes on counting.
        self.epochs_trained = 0
        self._shuffle: random.SeedGenerator | None = None
        self._shuffle_seeding = 0
        self.run_eagerly = False
        self.jit_compile: bool | str = "auto"
        self.steps_per_execution = 1
        self._compile_loss: Loss | None = None
        self._loss_weight = 1.0
        self._compile_metrics: CompiledMetrics | None = None
        self._loss_tracker: Mean | None = None
        self._plan: _Plan | None = None
        self._programs = Programs(self)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how the model is trained (Keras `Model.compile`).

        Args:
            optimizer: Name or instance. Default "rmsprop".
            loss: Name, instance, class or function `loss(y_true, y_pred)`. Default: none, for
                models that add their losses themselves.
            loss_weights: Factor of the loss. Default: 1.
            metrics: List of names, instances, classes or functions; "accuracy" takes the binary,
                sparse or categorical form by the shapes of the data.
            weighted_metrics: The same for metrics that use sample weights.
            run_eagerly: Whether steps run as plain Python. Default False.
            steps_per_execution: Accepted for Keras's sake.
            jit_compile: Accepted for Keras's sake.
            auto_scale_loss: Accepted for Keras's sake.

        Raises:
            ValueError: a name is unknown; the message gives the nearest one.

        >>> import autodan as ad
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile(loss="mse", metrics=["mae"])
        >>> model.compile(optimizer="adm")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: Unknown optimizer 'adm'. Did you mean 'adam'? ...
        """
        chosen_optimizer = optimizers.get(optimizer)
        chosen_loss = resolve_loss(loss)
        chosen_metrics = CompiledMetrics(metrics, weighted_metrics)
        weight = _single_weight(loss_weights)
        if self.built and chosen_optimizer is not None:
            chosen_optimizer.build(self.trainable_variables)
        self.optimizer = chosen_optimizer
        self.loss = loss
        self._compile_loss = chosen_loss
        self._loss_weight = weight
        self._compile_metrics = chosen_metrics if metrics or weighted_metrics else None
        self._loss_tracker = Mean(name="loss")
        self.run_eagerly = run_eagerly
        self.jit_compile = jit_compile
        self.steps_per_execution = steps_per_execution
        self.stop_training = False
        self.compiled = True
        if self._plan is not None:
            self._plan = self._new_plan()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the compiled loss plus penalties and `add_loss` (Keras `compute_loss`).

        Raises:
            ValueError: there is no loss at all, or no targets for it.
        """
        total = None
        if self._compile_loss is not None:
            if y is None:
                raise ValueError(
                    f"Model '{self.name}' was compiled with a loss, but the data has no targets. "
                    "Pass y, or batches (x, y)."
                )
            total = self._compile_loss(y, y_pred, sample_weight)
            if self._loss_weight != 1.0:
                total = total * self._loss_weight
        for penalty in self._penalties():
            total = penalty if total is None else total + penalty
        if total is None:
            raise ValueError(
                f"Model '{self.name}' has no loss to train on. Pass `loss` to compile()."
            )
        return total

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Add a batch to the compiled metrics and return all results (Keras)."""
        if self._compile_metrics is not None and y is not None:
            with no_grad():
                self._compile_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the results of all metrics by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics if self._plan is None else self._plan.metrics:
            result = metric.result()
            if isinstance(result, dict):
                results.update(result)
            else:
                results[metric.name] = result
        return results

    def reset_metrics(self) -> None:
        """Start all metrics anew."""
        for metric in self.metrics:
            metric.reset_state()

    def train_step(self, data: Any) -> Logs:
        """Train on one batch; override it for a training of your own (Keras `train_step`).

        Args:
            data: `(x,)`, `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            The results of the metrics by name.
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
        self._track_loss(loss, x)
        plan = self._plan
        if plan is not None and plan.trainable_changes != _core.trainable_changes():
            plan = self._plan = self._new_plan()
        variables = self.trainable_variables if plan is None else plan.variables
        gradients = _core.grad(loss, variables) if variables else []
        results = self.compute_metrics(x, y, y_pred, sample_weight)
        # Last, and all or nothing: a step that fails leaves the weights as they were.
        if variables:
            self.optimizer.apply(gradients, variables)
        else:
            warnings.warn(f"Model '{self.name}' has no trainable weights.", stacklevel=2)
        return results

    def test_step(self, data: Any) -> Logs:
        """Evaluate one batch; may be overridden (Keras `test_step`)."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        if self._compile_loss is not None or self._penalties():
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
            self._track_loss(loss, x)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """Return the outputs for one batch; may be overridden (Keras `predict_step`)."""
        x, _, _ = unpack_x_y_sample_weight(data)
        return self(x, training=False)

    def _run_train_step(self, batch: Any) -> Logs:
        """Train on one batch, compiled if that is possible; all or nothing."""
        compiled, tensors = self._find_program("train", self.train_step, batch)
        if compiled is None:
            with self._state_kept(always=False):
                results = self.train_step(batch)
            self._programs.succeeded()
            return results
        if compiled.after:
            with self._state_kept(always=False):
                return compiled(tensors)
        return compiled(tensors)

    def _run_step(self, kind: str, step: Callable[[Any], Any], batch: Any) -> Any:
        """Run a step that changes no weights, compiled if that is possible."""
        compiled, tensors = self._find_program(kind, step, batch)
        if compiled is not None:
            return compiled(tensors)
        results = step(batch)
        self._programs.succeeded()
        return results

    def _find_program(
        self, kind: str, step: Callable[[Any], Any], batch: Any
    ) -> tuple[CompiledStep | None, list[Tensor]]:
        # Inside of a step that is itself traced, this one is a part of it. Training where
        # nothing is recorded raises an error.
        untrained = kind == "train" and not _core.is_grad_enabled()
        if self.run_eagerly or is_tracing() or untrained:
            return None, []
        return self._programs.find(kind, step, batch)

    def _penalties(self) -> list[Tensor]:
        """Return `losses`, without a search where there are known to be none."""
        plan = self._plan
        if plan is None or plan.penalized or self._has_added_losses:
            return self.losses
        return []

    def _new_plan(self) -> _Plan:
        """Look for variables and metrics once for a whole loop, as Keras does at `compile`."""
        layers, metrics = self._flatten_layers(), self.metrics
        penalized = any(layer._regularized for layer in layers)
        overridden = type(self).losses is not Layer.losses
        counted = [variable for metric in metrics for variable in metric.variables]
        return _Plan(
            _core.trainable_changes(),
            self.trainable_variables,
            metrics,
            penalized or overridden,
            [*self.non_trainable_variables, *counted],
            [g for layer in layers for g in layer._children(random.SeedGenerator)],
        )

    def _track_loss(self, loss: Tensor, x: Any) -> None:
        if self._loss_tracker is not None:
            first = x if isinstance(x, Tensor) else flatten(x)[0]
            self._loss_tracker.update_state(loss.detach(), sample_weight=first.shape[0])

    def _shuffle_stream(self) -> random.SeedGenerator:
        """Return where the orders of the epochs come from: drawn anew after `set_seed` only."""
        seeding = random.seedings()
        if self._shuffle is None or self._shuffle_seeding != seeding:
            self._shuffle, self._shuffle_seeding = random.SeedGenerator(), seeding
        return self._shuffle

    # Before the first step -----------------------------------------------------------------

    def _prepare(self, data: ArrayData | StreamData, validation: Any) -> None:
        """Refuse data that cannot be trained on, and build what is not built yet."""
        if isinstance(data, ArrayData) and not data.num_samples:
            raise ValueError("fit: `x` is empty; there is nothing to train on.")
        labels = []
        for prefix, part in (("", data), ("validation ", validation)):
            if not isinstance(part, ArrayData):
                continue
            for rows in flatten((part.x, part.y)):
                if rows is not None:
                    check_finite(prefix + rows.name, rows.array)
            if isinstance(part.y, Rows):
                labels.append((prefix + part.y.name, part.y.array))
        try:
            first = data.first()
        except StopIteration:
            raise ValueError("fit: the data yielded no batches.") from None
        self._prepare_on(first, labels)

    def _prepare_on(self, batch: Any, labels: list[tuple[str, np.ndarray]]) -> None:
        """Try the first batch without training on it, so that what does not fit shows here."""
        with undo_build_on_error(self):
            if type(self).train_step is Steps.train_step:
                self._try_batch(batch, labels)
            elif not self.built and type(self).call is not Layer.call:
                with no_grad():
                    self(unpack_x_y_sample_weight(batch)[0], training=False)
            variables = self.trainable_variables
            if self.optimizer is not None and variables:
                self.optimizer.build(variables)

    def _try_batch(self, batch: Any, labels: list[tuple[str, np.ndarray]]) -> None:
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        loss = self._compile_loss
        with no_grad(), self._state_kept():
            try:
                y_pred = self(x, training=False)
                if takes_integer_labels(loss) and isinstance(y_pred, Tensor) and y_pred.ndim:
                    ignored = getattr(loss, "ignore_class", None)
                    for name, array in labels:
                        if array.ndim < y_pred.ndim or array.shape[-1] == 1:
                            check_labels(name, array, y_pred.shape[-1], ignored)
                self.compute_loss(x, y, y_pred, sample_weight, training=False)
                if self._compile_metrics is not None and y is not None:
                    with self._compile_metrics.unbuilt_on_error():
                        self._compile_metrics.update_state(y, y_pred, sample_weight)
            finally:
                self.reset_metrics()

    @contextmanager
    def _state_kept(self, always: bool = True) -> Iterator[None]:
        """Give back what calls change besides the weights, in any case after an error.

        But not after an error, or an interrupt, that came when the weights had been updated: then
        the step is done, and what belongs to it stays.
        """
        plan = self._plan or self._new_plan()
        updates = self._updates()
        state = [(variable, variable.value) for variable in plan.state]
        generators = plan.generators
        counters = [generator.counter for generator in generators]
        try:
            yield
        except BaseException:
            always = always or self._updates() == updates
            raise
        finally:
            if always:
                with Undisturbed():
                    for variable, value in state:
                        variable.assign(value)
                    for generator, counter in zip(generators, counters, strict=True):
                        generator.counter = counter

    def _updates(self) -> int:
        """Return how often the optimizer has updated the weights."""
        return 0 if self.optimizer is None else int(self.optimizer.iterations)


def _single_weight(loss_weights: Any) -> float:
    if loss_weights is None:
        return 1.0
    if isinstance(loss_weights, Mapping):
        loss_weights = list(loss_weights.values())
    if isinstance(loss_weights, (list, tuple)):
        if len(loss_weights) != 1:
            raise ValueError(
                f"compile: `loss_weights` holds {len(loss_weights)} weights, but the model has "
                "one output."
            )
        loss_weights = loss_weights[0]
    return float(loss_weights)
