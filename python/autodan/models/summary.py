"""The table that `Model.summary` prints, as Keras 3 draws it."""

from __future__ import annotations

import math
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from autodan._core import Variable
from autodan.layers.input_spec import is_shape

_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "uint8": 1, "bool": 1}
_ALIGN: dict[str, Callable[[str, int], str]] = {
    "left": str.ljust,
    "right": str.rjust,
    "center": str.center,
}


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print a table of a model's layers and its numbers of parameters (Keras `summary`).

    Args:
        model: The model.
        line_length: Width of the table. Default: 88, or what the terminal has room for.
        positions: Where the columns end, as fractions of the width.
        print_fn: Receives the whole text. Default: `print`.
        expand_nested: Whether the layers of inner models are listed. Default False.
        show_trainable: Whether a column says what is trained. Default False.
        layer_range: Patterns of the first and last layer to list. Default: all layers.

    Raises:
        ValueError: the width is too small, or `layer_range` matches no layer.
    """
    header = [("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")]
    length, ends = 88, list(positions or (0.45, 0.80, 1.0))
    if show_trainable:
        header.append(("Trainable", "center"))
        length += 12
        if positions is None:
            ends = [end * 0.9 for end in ends] + [1.0]
    length = line_length or min(length, shutil.get_terminal_size().columns - 4)
    if len(ends) != len(header):
        raise ValueError(f"`positions` needs {len(header)} entries. Received: {positions}.")

    rows = [
        row
        for layer in _in_range(model.layers, layer_range)
        for row in _rows(layer, expand_nested, show_trainable, 0)
    ]
    lines = [
        f'Model: "{model.name}"',
        *_table(header, rows, _widths(length, ends)),
        *_totals(model),
    ]
    (print_fn or print)("\n".join(lines))


def _rows(layer: Any, nested: bool, show_trainable: bool, depth: int) -> Iterator[list[str]]:
    prefix = "   " * depth + "└ " if depth else ""
    count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
    row = [f"{prefix}{layer.name} ({type(layer).__name__})", _output_shape(layer), count]
    if show_trainable:
        row.append(("Y" if layer.trainable else "N") if layer.weights else "-")
    yield row
    if nested:
        for inner in getattr(layer, "layers", ()):
            yield from _rows(inner, nested, show_trainable, depth + 1)


def _output_shape(layer: Any) -> str:
    if layer._build_shape is None:
        return "?"
    try:
        shape = layer.compute_output_shape(layer._build_shape)
    except (NotImplementedError, ValueError, TypeError):
        return "?"
    return _format(shape)


def _format(shape: Any) -> str:
    if is_shape(shape):
        return f"({', '.join(map(str, shape))})"
    if isinstance(shape, dict):
        return "{" + ", ".join(f"{key}: {_format(value)}" for key, value in shape.items()) + "}"
    return "[" + ", ".join(map(_format, shape)) + "]"


def _in_range(layers: list[Any], patterns: Sequence[str] | None) -> list[Any]:
    if patterns is None:
        return layers
    if len(patterns) != 2:
        raise ValueError(f"`layer_range` must hold two names. Received: {patterns}.")
    found = [
        [i for i, layer in enumerate(layers) if re.match(pattern, layer.name)]
        for pattern in patterns
    ]
    if not all(found):
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(f"`layer_range` {tuple(patterns)} matches no layer. Layers: {names}.")
    low, high = sorted((min(found[0]), max(found[1])))
    return layers[low : high + 1]


def _widths(length: int, ends: Sequence[float]) -> list[int]:
    """Return the columns' widths, padding included, that fill `length` with their borders."""
    stops = [int(end * length) for end in ends]
    widths = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
    if min(widths) < 4:
        raise ValueError(
            f"A summary of {length} columns is too narrow. Pass a larger line_length, such as 88."
        )
    # The borders, and the two spaces of padding that each column adds, come out of all columns
    # in even shares.
    surplus = 3 * len(widths) + 1
    for i in range(len(widths)):
        share = round(surplus / (len(widths) - i))
        widths[i] += 2 - share
        surplus -= share
    return widths


def _table(
    header: list[tuple[str, str]], rows: list[list[str]], widths: list[int]
) -> Iterator[str]:
    def rule(left: str, fill: str, middle: str, right: str) -> str:
        return left + middle.join(fill * width for width in widths) + right

    def cells(texts: Iterable[str], bar: str) -> Iterator[str]:
        columns = [_lines(text, width - 2) for text, width in zip(texts, widths, strict=True)]
        for line in range(max(map(len, columns))):
            parts = [
                _ALIGN[align](column[line] if line < len(column) else "", width - 2)
                for column, width, (_, align) in zip(columns, widths, header, strict=True)
            ]
            yield bar + bar.join(f" {part} " for part in parts) + bar

    yield rule("┏", "━", "┳", "┓")
    yield from cells((title for title, _ in header), "┃")
    yield rule("┡", "━", "╇", "┩")
    for i, row in enumerate(rows):
        if i:
            yield rule("├", "─", "┼", "┤")
        yield from cells(row, "│")
    yield rule("└", "─", "┴", "┘")


def _lines(text: str, width: int) -> list[str]:
    """Break a text between words; a word that is too long is cut short."""
    if len(text) <= width:
        return [text]
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _totals(model: Any) -> Iterator[str]:
    trainable = model.trainable_variables
    frozen = model.non_trainable_variables
    optimizer = getattr(model, "optimizer", None)
    state = list(optimizer.variables) if optimizer is not None and optimizer.built else []
    yield f" Total params: {_amount([*trainable, *frozen, *state])}"
    yield f" Trainable params: {_amount(trainable)}"
    yield f" Non-trainable params: {_amount(frozen)}"
    if state:
        yield f" Optimizer params: {_amount(state)}"


def _amount(variables: Sequence[Variable]) -> str:
    count = sum(math.prod(variable.shape) for variable in variables)
    size = float(sum(math.prod(v.shape) * _BYTES[v.dtype] for v in variables))
    units = ["B", "KB", "MB", "GB", "TB", "PB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{count:,} ({size:.2f} {units[0]})"
