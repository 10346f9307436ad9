"""The loops of training: `fit`, `evaluate`, `predict`, and their forms for one batch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autodan.autograd import no_grad
from autodan.callbacks import CallbackList
from autodan.models.data import (
    ArrayData,
    EpochIterator,
    StreamData,
    make_batch,
    make_data,
    unpack_x_y_sample_weight,
)
from autodan.models.steps import Logs, Steps
from autodan.utils.tree import flatten, map_structure


class Trainer(Steps):
    """The part of `Model` that trains it."""

    stop_evaluating = False
    stop_predicting = False

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> Any:
        """Train the model (Keras `Model.fit`).

        Args:
            x: Array or tensor of samples (N, ...), a list or dict of them, or something that
                yields batches `(x, y)` or `(x, y, sample_weight)`. Batches are made in a thread,
                in order and at most two ahead within an epoch, while the model trains. A source
                with an attribute `workers = 0` is read between the steps instead: for one that
                looks at the model, or shares a generator of random numbers with the step.
            y: Targets, as many as samples.
            batch_size: Default 32.
            epochs: Number of the epoch to end before. Default 1.
            verbose: 1 or "auto" for a progress bar, 2 for a line per epoch, 0 for silence.
            callbacks: List of callbacks.
            validation_split: Fraction of the rows, the last ones, to validate on. Default 0.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or something that yields batches.
            shuffle: Whether each epoch has an order of its own. Default True.
            class_weight: Weight of each class in the loss.
            sample_weight: Weight of each sample in the loss.
            initial_epoch: Number of the first epoch. Default 0.
            steps_per_epoch: Batches per epoch. Default: all.
            validation_steps: Batches per validation. Default: all.
            validation_batch_size: Default: `batch_size`.
            validation_freq: Validate every so many epochs, or after the epochs listed. Default 1.

        Returns:
            A `History` whose `history` lists the metrics of each epoch.

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: the data does not fit the model, contains NaN, or has labels out of
                range. Nothing has changed then.

        >>> import autodan as ad
        >>> ad.utils.set_random_seed(1)
        >>> model = ad.Sequential([ad.layers.Dense(1)])
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=3, verbose=0)
        >>> len(history.history["loss"])
        3
        """
        self._need_compile("fit")
        order = self._shuffle_stream() if shuffle else None
        data = make_data(x, y, sample_weight, batch_size, order, class_weight, self.dtype)
        validation: ArrayData | StreamData | None = None
        if validation_data is not None:
            validation = self._validation_data(validation_data, validation_batch_size or batch_size)
        elif validation_split:
            if not isinstance(data, ArrayData):
                raise ValueError("validation_split needs arrays. Pass validation_data instead.")
            data, validation = data.split(validation_split)
            validation.batch_size = validation_batch_size or data.batch_size
            validation.num_steps = -(-validation.num_samples // validation.batch_size)
        iterator = EpochIterator(data, steps_per_epoch)
        validation_iterator = (
            None if validation is None else EpochIterator(validation, validation_steps)
        )
        self._prepare(data, validation)
        callback_list = self._callback_list(
            callbacks, verbose, epochs, iterator.steps, history=True
        )

        self.stop_training = False
        outer = self._plan
        try:
            self._plan = self._new_plan()
            self._programs.refresh(begins=True)
            callback_list.on_train_begin()
            numbers = range(initial_epoch, epochs)
            logs = self._train(
                numbers, iterator, validation_iterator, validation_freq, callback_list
            )
            callback_list.on_train_end(logs)
        except BaseException:
            callback_list.release()
            raise
        finally:
            self._plan = outer
        return self.history

    def _train(
        self,
        epochs: range,
        iterator: EpochIterator,
        validation_iterator: EpochIterator | None,
        validation_freq: int | Sequence[int],
        callback_list: CallbackList,
    ) -> Logs:
        logs: Logs = {}
        for epoch in epochs:
            self.reset_metrics()
            callback_list.on_epoch_begin(epoch)
            step = -1
            for step, batch in enumerate(iterator):
                callback_list.on_train_batch_begin(step)
                logs = self._run_train_step(batch)
                callback_list.on_train_batch_end(step, logs)
                if self.stop_training:
                    break
            if step < 0:
                warnings.warn(
                    f"The data ran out before epoch {epoch + 1}: training stops. A generator "
                    "must yield steps_per_epoch * epochs batches.",
                    stacklevel=3,
                )
                break
            epoch_logs = _floats(logs)
            if validation_iterator is not None and _due(epoch, validation_freq):
                results = self._evaluate(validation_iterator, callback_list)
                epoch_logs.update({f"val_{name}": value for name, value in results.items()})
            self.epochs_trained += 1
            callback_list.on_epoch_end(epoch, epoch_logs)
            logs = epoch_logs
            if self.stop_training:
                break
        return logs

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return loss and metrics on data (Keras `Model.evaluate`).

        Args:
            x: As for `fit`.
            y: As for `fit`.
            batch_size: Default 32.
            verbose: 1 or "auto" for a progress bar, 2 for a line, 0 for silence.
            sample_weight: Weight of each sample.
            steps: Number of batches. Default: all.
            callbacks: List of callbacks.
            return_dict: Whether to return a dict. Default False.

        Returns:
            The loss, a list of loss and metrics, or a dict.

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: the data does not fit the model.
        """
        self._need_compile("evaluate")
        data = make_data(x, y, sample_weight, batch_size, dtype=self.dtype)
        iterator = EpochIterator(data, steps)
        callback_list = self._callback_list(callbacks, verbose, 1, iterator.steps, history=False)
        try:
            results = self._evaluate(iterator, callback_list)
        except BaseException:
            callback_list.release()
            raise
        return _listed(results, return_dict)

    def _evaluate(self, iterator: EpochIterator, callbacks: Any) -> Logs:
        self.stop_evaluating = False
        callbacks.on_test_begin()
        logs: Logs = {}
        outer = self._plan
        try:
            self._plan = self._new_plan()
            self._programs.refresh_if_changed()
            with no_grad():
                self.reset_metrics()
                for step, batch in enumerate(iterator):
                    callbacks.on_test_batch_begin(step)
                    logs = self._run_step("test", self.test_step, batch)
                    callbacks.on_test_batch_end(step, logs)
                    if self.stop_evaluating:
                        break
        finally:
            self._plan = outer
        results = _floats(logs)
        callbacks.on_test_end(results)
        return results

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return the outputs for data as NumPy arrays (Keras `Model.predict`).

        Args:
            x: As for `fit`.
            batch_size: Default 32.
            verbose: 1 or "auto" for a progress bar, 2 for a line, 0 for silence.
            steps: Number of batches. Default: all.
            callbacks: List of callbacks.

        Returns:
            One array for all samples, or a list or dict of them as the model returns it.

        Raises:
            ValueError: the data does not fit the model.

        >>> import autodan as ad
        >>> ad.Sequential([ad.layers.Dense(2)]).predict(np.ones((40, 3)), verbose=0).shape
        (40, 2)
        """
        data = make_data(x, None, None, batch_size, dtype=self.dtype)
        iterator = EpochIterator(data, steps)
        callback_list = self._callback_list(callbacks, verbose, 1, iterator.steps, history=False)
        batches: Any = iterator
        if isinstance(data, ArrayData) and not data.num_samples:
            batches = [data.first()]
        self.stop_predicting = False
        structure: Any = None
        parts: list[list[np.ndarray]] = []
        try:
            callback_list.on_predict_begin()
            self._programs.refresh_if_changed()
            with no_grad():
                for step, batch in enumerate(batches):
                    callback_list.on_predict_batch_begin(step)
                    structure = self._run_step("predict", self.predict_step, batch)
                    parts.append([_numpy(output) for output in flatten(structure)])
                    callback_list.on_predict_batch_end(step, {"outputs": structure})
                    if self.stop_predicting:
                        break
            callback_list.on_predict_end()
        except BaseException:
            callback_list.release()
            raise
        if not parts:
            raise ValueError("predict: the data yielded no batches.")
        joined = iter([np.concatenate(columns) for columns in zip(*parts, strict=True)])
        return map_structure(lambda _: next(joined), structure)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch and return loss and metrics so far (Keras `train_on_batch`).

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: the data does not fit the model, contains NaN, or has labels out of range.
        """
        self._need_compile("train_on_batch")
        batch = make_batch(x, y, sample_weight, class_weight, self.dtype)
        if not self.built or not (self.optimizer is None or self.optimizer.built):
            self._prepare_on(batch, [])
        self._programs.refresh_if_changed()
        results = self._run_train_step(batch)
        return _listed(_floats(results), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluate one batch and return loss and metrics so far (Keras `test_on_batch`).

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: the data does not fit the model.
        """
        self._need_compile("test_on_batch")
        batch = make_batch(x, y, sample_weight, None, self.dtype, training=False)
        with no_grad():
            self._programs.refresh_if_changed()
            return _listed(_floats(self._run_step("test", self.test_step, batch)), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for one batch as NumPy arrays (Keras `predict_on_batch`).

        Raises:
            ValueError: the data does not fit the model.
        """
        batch = make_batch(x, None, None, None, self.dtype, training=False)
        with no_grad():
            self._programs.refresh_if_changed()
            return map_structure(_numpy, self._run_step("predict", self.predict_step, batch))

    def _need_compile(self, method: str) -> None:
        if not self.compiled:
            raise RuntimeError(
                f"Model '{self.name}' must be compiled before {method}(): call "
                "model.compile(optimizer=..., loss=...)."
            )

    def _validation_data(self, given: Any, batch_size: int | None) -> ArrayData | StreamData:
        if isinstance(given, (tuple, list)):
            x, y, sample_weight = unpack_x_y_sample_weight(given)
            return make_data(x, y, sample_weight, batch_size, dtype=self.dtype)
        return make_data(given, dtype=self.dtype)

    def _callback_list(
        self, callbacks: Any, verbose: str | int, epochs: int, steps: int | None, history: bool
    ) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(
            callbacks,
            add_history=history,
            add_progbar=verbose != 0,
            model=self,
            verbose=1 if verbose == "auto" else int(verbose),
            epochs=epochs,
            steps=steps,
        )


def _due(epoch: int, frequency: int | Sequence[int]) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _floats(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the values as Python numbers, those of inner dicts under their own names."""
    numbers: dict[str, float] = {}
    for name, value in logs.items():
        if isinstance(value, Mapping):
            numbers.update(_floats(value))
        else:
            numbers[name] = float(value)
    return numbers


def _listed(results: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return results
    values = list(results.values())
    return values[0] if len(values) == 1 else values


def _numpy(output: Any) -> np.ndarray:
    """Return an output as an array of its own, which the user may write to."""
    return np.array(output)
