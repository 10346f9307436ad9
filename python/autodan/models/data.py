"""From what users pass as `x` and `y` to batches of tensors.

Arrays stay where they are: a batch gathers its rows and casts only these.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from autodan import _core, random
from autodan._core import Tensor
from autodan.models.checks import check_finite, check_same_length
from autodan.models.readahead import read_ahead
from autodan.utils.tree import flatten, map_structure

DEFAULT_BATCH_SIZE = 32

# The dtypes that the core has; by NumPy's objects, since one takes a microsecond to say its name.
_CORE_DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
_NAMES = {np.dtype(name): name for name in _CORE_DTYPES}

# The dtype that the core computes with in place of one that it does not have.
_STAND_INS = {
    "int8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64",
}


class Data(Protocol):
    """Batches `(x,)`, `(x, y)` or `(x, y, sample_weight)` of tensors, epoch after epoch."""

    num_steps: int | None
    reads_ahead: bool

    def first(self) -> Any:
        """Return the first batch, which the next epoch yields again."""

    def batches(self) -> Iterator[Any]:
        """Yield the batches of an epoch."""

    def end_epoch(self) -> None:
        """Tell the source that its batches are through."""


class Rows:
    """The rows of one array as tensors.

    Args:
        name: What the array is called in messages.
        values: Anything that NumPy makes an array of.
        dtype: The dtype for floats.

    Raises:
        ValueError: the values do not form an array of numbers.

    >>> rows = Rows("x", np.arange(6.0).reshape(3, 2), "float32")
    >>> rows.batch(1, 3).tolist()
    [[2.0, 3.0], [4.0, 5.0]]
    >>> rows.batch(0, 2, order=_core.tensor([2, 0, 1])).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, name: str, values: Any, dtype: str) -> None:
        try:
            array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
        except ValueError as error:
            raise ValueError(f"`{name}` cannot be made an array: {error}") from error
        kind = array.dtype.kind
        if kind not in "fiub":
            raise ValueError(
                f"`{name}` has dtype {array.dtype}; expected numbers. Rows of different lengths "
                "or strings must be encoded as numbers first."
            )
        if array.ndim == 0:
            raise ValueError(f"`{name}` is a single number; expected an array of samples.")
        self.name = name
        self.array = array
        found = _NAMES.get(array.dtype) or array.dtype.name
        self.dtype = dtype if kind == "f" else _STAND_INS.get(found, found)
        # Half and extended precision are cast by NumPy, the rest in the core's one pass.
        self._casts_in_numpy = found not in _CORE_DTYPES
        self._memory = None if self._casts_in_numpy else _borrowed(array)

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, start: int, stop: int, order: Tensor | None = None) -> Tensor:
        """Return a copy of the rows `start` to `stop`, those that `order` has there if it is given.

        Args:
            start: The first row.
            stop: The row to end before.
            order: The numbers of all rows (int64) in another order.

        Raises:
            IndexError: there are no such rows.
        """
        if self._memory is not None:
            return _core.gather_rows(self._memory, order, start, stop, self.dtype)
        if order is None:
            rows = self.array[start:stop]
        else:
            rows = self.array.take(order.numpy()[start:stop], axis=0)
        if self._casts_in_numpy:
            rows = rows.astype(self.dtype)
        return _core.asarray(rows, dtype=self.dtype)

    def select(self, part: slice) -> Rows:
        """Return a part of the rows, as a view."""
        return Rows(self.name, self.array[part], self.dtype)


def _borrowed(array: np.ndarray) -> Tensor | None:
    """Return the array's own memory as a tensor; None where the core cannot read it in place."""
    try:
        return _core.asarray(array, copy=False)
    except ValueError:
        return None


def make_rows(name: str, values: Any, dtype: str) -> Any:
    """Return `Rows` for an array, or a list or dict of them for a list or dict of arrays."""
    if isinstance(values, (np.ndarray, Tensor)):
        return Rows(name, values, dtype)
    if isinstance(values, Mapping):
        flatten(values)  # refuses what holds itself
        return {key: make_rows(f"{name}['{key}']", value, dtype) for key, value in values.items()}
    if isinstance(values, (list, tuple)) and values and all(map(_is_array, values)):
        return [make_rows(f"{name}[{i}]", value, dtype) for i, value in enumerate(values)]
    return Rows(name, values, dtype)


def _is_array(value: Any) -> bool:
    return not np.isscalar(value) and len(getattr(value, "shape", ())) > 0


class ArrayData:
    """Batches out of arrays; the last one may be smaller.

    They are not read ahead: to gather one takes less time than to hand it over.

    Args:
        x: `Rows`, or a list or dict of them.
        y: The same for the targets, or None.
        sample_weight: The same for the weights, or None.
        batch_size: Number of rows per batch.
        shuffle: Draws the order of each epoch; None keeps that of the arrays.
        by_class: Whether the weights are those of classes, which count in training only.

    Raises:
        ValueError: the arrays differ in length, or the batch size is not positive.
    """

    reads_ahead = False

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int,
        shuffle: random.SeedGenerator | None,
        by_class: bool = False,
    ) -> None:
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive integer. Received: {batch_size}.")
        self.columns = pack_x_y_sample_weight(x, y, sample_weight)
        self.x, self.y, self.sample_weight = x, y, sample_weight
        self.num_samples = check_same_length(flatten(self.columns))
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.by_class = by_class
        self.num_steps: int | None = -(-self.num_samples // self.batch_size)

    def first(self) -> Any:
        """Return the first rows, not shuffled."""
        stop = min(self.batch_size, self.num_samples)
        return map_structure(lambda rows: rows.batch(0, stop), self.columns)

    def batches(self) -> Iterator[Any]:
        """Yield the batches of an epoch."""
        columns, size = self.columns, self.batch_size
        order = None
        if self.shuffle is not None:
            order = random.permutation(self.num_samples, self.shuffle)
        flat = all(isinstance(column, Rows) for column in columns)
        for start in range(0, self.num_samples, size):
            stop = min(start + size, self.num_samples)
            if flat:
                yield tuple([rows.batch(start, stop, order) for rows in columns])
            else:
                yield map_structure(operator.methodcaller("batch", start, stop, order), columns)

    def end_epoch(self) -> None:
        """Do nothing: arrays know of no epochs."""

    def split(self, fraction: float) -> tuple[ArrayData, ArrayData]:
        """Return all but the last `fraction` of the rows, and these.

        Raises:
            ValueError: the fraction is not between 0 and 1, or leaves one part empty.
        """
        cut = int(self.num_samples * (1.0 - fraction)) if 0 < fraction < 1 else 0
        if not 0 < cut < self.num_samples:
            raise ValueError(
                f"validation_split={fraction} of {self.num_samples} samples leaves no data for "
                "training or none for validation. It must lie between 0 and 1."
            )

        def part(rows: slice, weights: Any, shuffle: random.SeedGenerator | None) -> ArrayData:
            x, y, weight = (
                None if column is None else map_structure(lambda c: c.select(rows), column)
                for column in (self.x, self.y, weights)
            )
            return ArrayData(x, y, weight, self.batch_size, shuffle, self.by_class)

        validation_weights = None if self.by_class else self.sample_weight
        return (
            part(slice(0, cut), self.sample_weight, self.shuffle),
            part(slice(cut, None), validation_weights, None),
        )


class StreamData:
    """Batches out of a generator, an iterable, or a sequence of batches (`PyDataset`-like).

    They are made ahead in a thread (see `read_ahead`), unless the source says `workers = 0`: for
    one that looks at the model, or uses what belongs to the thread that calls `fit`.

    Args:
        source: What yields the batches; one with `__len__` and `__getitem__` is a sequence.
        shuffle: Draws the order of a sequence in each epoch; None keeps its own.
        class_weight: Weight of each class, or None.
        dtype: The dtype for floats.
    """

    def __init__(
        self,
        source: Any,
        shuffle: random.SeedGenerator | None,
        class_weight: Mapping[int, float] | None,
        dtype: str,
    ) -> None:
        self._source = source
        self._is_sequence = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        self._shuffle = shuffle
        self._class_weight = class_weight
        self._dtype = dtype
        self._peeked: list[Any] = []
        self.reads_ahead = getattr(source, "workers", 1) != 0
        self.num_steps: int | None = len(source) if hasattr(source, "__len__") else None
        # A generator goes on where it stopped; anything else starts anew each epoch.
        self._stream = source if isinstance(source, Iterator) else None

    def first(self) -> Any:
        """Return the first batch."""
        if self._is_sequence:
            return self._convert(self._source[0])
        if self._stream is None:
            return self._convert(next(iter(self._source)))
        if not self._peeked:
            self._peeked.append(next(self._stream))
        return self._convert(self._peeked[0])

    def batches(self) -> Iterator[Any]:
        """Yield the batches of an epoch; those of a generator until it ends."""
        for batch in self._raw():
            yield self._convert(batch)

    def end_epoch(self) -> None:
        """Call the `on_epoch_end` of the source if it has one."""
        if hasattr(self._source, "on_epoch_end"):
            self._source.on_epoch_end()

    def _raw(self) -> Iterable[Any]:
        if self._is_sequence:
            count = len(self._source)
            order: Iterable[int] = range(count)
            if self._shuffle is not None:
                order = random.permutation(count, self._shuffle).tolist()
            return (self._source[i] for i in order)
        if self._stream is None:
            return self._source
        return itertools.chain(self._take_peeked(), self._stream)

    def _take_peeked(self) -> Iterator[Any]:
        while self._peeked:
            yield self._peeked.pop()

    def _convert(self, batch: Any) -> Any:
        return make_batch(*unpack_x_y_sample_weight(batch), self._class_weight, self._dtype)


def make_batch(
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    dtype: str,
    training: bool = True,
) -> Any:
    """Return one batch of tensors.

    Raises:
        ValueError: the lengths differ, or a value to train on is NaN or infinite.
    """
    x, y, sample_weight = _columns(x, y, sample_weight, class_weight, dtype)
    if not training and y is None and isinstance(x, Rows):
        # What one image at a time is predicted from: nothing to look for, and nothing to compare.
        return (x.batch(0, len(x)),)
    batch = pack_x_y_sample_weight(x, y, sample_weight)
    check_same_length(flatten(batch))
    for rows in flatten((x, y)) if training else ():
        if rows is not None:
            check_finite(rows.name, rows.array)
    return map_structure(lambda rows: rows.batch(0, len(rows)), batch)


def make_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: random.SeedGenerator | None = None,
    class_weight: Mapping[int, float] | None = None,
    dtype: str = "float32",
) -> ArrayData | StreamData:
    """Return the data for what a user passed to fit, evaluate or predict.

    Raises:
        ValueError: `y`, weights or a batch size stand beside a source of batches, or the arrays
            do not fit together.
        TypeError: `x` is nothing that data can be read from.
    """
    if x is None:
        raise ValueError("`x` is None; expected an array, a list or dict of them, or batches.")
    if isinstance(x, (list, tuple, Mapping, Tensor)) or hasattr(x, "__array__"):
        columns = _columns(x, y, sample_weight, class_weight, dtype)
        size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        return ArrayData(*columns, size, shuffle, by_class=class_weight is not None)
    if not isinstance(x, Iterable) and not hasattr(x, "__getitem__"):
        raise TypeError(
            f"`x` of type {type(x).__name__} is no data: expected an array, a tensor, a list or "
            "dict of them, or something that yields batches (x, y)."
        )
    given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` cannot be given when `x` yields batches: "
                "let it yield (x, y) or (x, y, sample_weight) of the size wanted."
            )
    return StreamData(x, shuffle, class_weight, dtype)


def _columns(
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    dtype: str,
) -> tuple[Any, Any, Any]:
    rows_x = make_rows("x", x, dtype)
    rows_y = None if y is None else make_rows("y", y, dtype)
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError("Give either `class_weight` or `sample_weight`, not both.")
        if not isinstance(rows_y, Rows):
            raise ValueError("`class_weight` needs one array of labels as `y`.")
        sample_weight = weights_of_classes(rows_y.array, class_weight)
    weights = None if sample_weight is None else make_rows("sample_weight", sample_weight, dtype)
    return rows_x, rows_y, weights


def weights_of_classes(y: np.ndarray, class_weight: Mapping[int, float]) -> np.ndarray:
    """Return the weight of each sample's class; 1 for classes without one.

    Args:
        y: Integer labels, shape (N,) or (N, 1), or one-hot ones, shape (N, classes).
        class_weight: Weight of each class.

    Raises:
        TypeError: `class_weight` is no dict.

    >>> weights_of_classes(np.array([0, 2, 1]), {0: 0.5, 2: 3.0}).tolist()
    [0.5, 3.0, 1.0]
    """
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "`class_weight` is a dict of classes and weights, such as {0: 1.0, 1: 2.5}. "
            f"Received: {type(class_weight).__name__}."
        )
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    labels = (y.argmax(axis=-1) if one_hot else y.reshape(len(y), -1)[:, 0]).astype("int64")
    weights = np.ones(labels.shape, dtype="float32")
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Return `(x, y, sample_weight)` without the missing ones, as a train step receives it.

    >>> pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if y is None:
        return (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Return x, y and sample weights of a batch, None for missing ones (Keras).

    Raises:
        ValueError: a tuple has more than three entries.

    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "A batch must be x, (x, y) or (x, y, sample_weight). "
            f"Received a tuple of {len(data)} entries."
        )
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


class EpochIterator:
    """Deals out the batches of each epoch.

    Args:
        data: Where they come from.
        steps: Number of batches per epoch; data that ends before is started anew. Default: all.
    """

    def __init__(self, data: Data, steps: int | None = None) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"The number of steps per epoch must be positive. Received: {steps}.")
        self.data = data
        self.steps = steps if steps is not None else data.num_steps
        self._fixed = steps is not None
        self._running: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        batches = self._some() if self._fixed else self.data.batches()
        yield from read_ahead(batches) if self.data.reads_ahead else batches
        if not self._fixed:
            self.data.end_epoch()

    def _some(self) -> Iterator[Any]:
        """Yield `steps` batches, from where the last epoch has stopped."""
        nothing = object()
        for _ in range(self.steps or 0):
            if self._running is None:
                self._running = self.data.batches()
            batch = next(self._running, nothing)
            if batch is nothing:
                self.data.end_epoch()
                self._running = self.data.batches()
                batch = next(self._running, nothing)
                if batch is nothing:
                    return
            yield batch
