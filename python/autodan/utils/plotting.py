"""Pictures of how training went. Needs matplotlib: `pip install 'autodan[plot]'`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["new_figure", "plot_history", "require_matplotlib", "require_plot_file"]

VALIDATION = "val_"
LABELS = {"": "training", VALIDATION: "validation"}


def require_plot_file(path: str | os.PathLike[str]) -> None:
    """Raises an error unless a plot can be written to this file; call it before long work.

    Args:
        path: the file that will be given to `plot_history`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the folder does not exist, or matplotlib does not know the file's ending.

    Example:
        >>> require_plot_file("run.png")  # doctest: +SKIP
    """
    require_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(path)
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        endings = ", ".join(f".{ending}" for ending in sorted(known))
        raise ValueError(f"{path}: the ending must be one of {endings}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")


def plot_history(history: Any, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draws the loss, and each metric beside it, over the epochs.

    Args:
        history: what `fit` returned, or its `.history`: a dict from a name to one number per
            epoch. A name `val_x` is drawn in the picture of `x`.
        path: a file to write, whose ending tells the format (.png, .svg, .pdf). None (default)
            leaves the figure to `matplotlib.pyplot.show()`.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the history is empty, or the file's ending is not one that matplotlib knows.

    Example:
        >>> plot_history({"loss": [0.9, 0.4], "val_loss": [1.0, 0.6]}, "run.png")  # doctest: +SKIP
        <Figure size 480x360 with 1 Axes>
    """
    require_matplotlib()
    curves: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    names = [name for name in curves if not name.startswith(VALIDATION)]
    if not names:
        raise ValueError("plot_history: the history is empty; call fit first")
    figure = new_figure((4.8 * len(names), 3.6), on_screen=path is None)
    for position, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), position + 1)
        _draw_curves(axes, name, {p: curves[p + name] for p in LABELS if p + name in curves})
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def require_matplotlib() -> None:
    """Raises an error that names the extra unless matplotlib is installed.

    Raises:
        ImportError: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'autodan[plot]'") from error


def new_figure(size: tuple[float, float], on_screen: bool) -> Figure:
    """Returns an empty figure.

    Args:
        size: its width and height in inches.
        on_screen: whether `matplotlib.pyplot.show()` will show it; one for a file needs no display.
    """
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    if on_screen:
        return pyplot.figure(figsize=size, layout="constrained")
    return Figure(figsize=size, layout="constrained")


def _draw_curves(axes: Axes, name: str, curves: Mapping[str, Sequence[float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for prefix, values in curves.items():
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, marker="o", markersize=3, label=LABELS[prefix])
    axes.set(title=name.replace("_", " "), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
