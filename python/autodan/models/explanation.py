"""What `Model.explain_step` returns."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from autodan.models.kernel_names import Meaning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from autodan.benchmark import Machine

__all__ = ["Operands", "StepExplanation", "StepKernel", "StepMemory"]

# Dtypes and shapes.
Operands: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class StepKernel:
    """One kernel of a step.

    Args:
        meaning: What it does.
        inputs: What it reads; of an optimizer, the gradients.
        outputs: What it makes; of an optimizer, the weights and its own variables.
        operations: Multiplications, additions and the like, nominally.
        bytes_read: Bytes of its operands, each read once.
        bytes_written: Bytes of its results.
        floor: The least seconds to expect: the operations at the machine's peak, or the operands
            moved once at the fastest rate of the nearest memory that holds all of them, whichever
            takes longer.
        bound: What the floor is made of: "compute", or the level of memory whose rate counts.
        seconds: Time of a run, the tenth percentile of many; None if it was not measured.
    """

    meaning: Meaning
    inputs: Operands
    outputs: Operands
    operations: int
    bytes_read: int
    bytes_written: int
    floor: float
    bound: str
    seconds: float | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.meaning.title

    @property
    def bytes(self) -> int:
        """Bytes that it moves."""
        return self.bytes_read + self.bytes_written

    @property
    def cost(self) -> float:
        """The seconds measured, or else the floor."""
        return self.floor if self.seconds is None else self.seconds


@dataclass(frozen=True, slots=True)
class StepMemory:
    """The bytes that a step's program uses.

    Args:
        buffers: Number of buffers that its values share.
        planned: Bytes of these.
        unshared: Bytes that the values would take with a buffer for each.
        weights: Bytes of the model's variables.
        optimizer: Bytes of the optimizer's variables.
        constants: Bytes of constants that the program keeps.
    """

    buffers: int
    planned: int
    unshared: int
    weights: int
    optimizer: int
    constants: int


@dataclass(frozen=True)
class StepExplanation:
    """What a step runs and where its time goes; `print` shows it as a table.

    Args:
        model: The model's name.
        kind: "train", "test" or "predict".
        inputs: Dtype and shape of the batch's tensors.
        kernels: What runs, in order; nothing for a step that runs eagerly.
        memory: What it uses; None for a step that runs eagerly.
        machine: What the floors come from; None for a step that runs eagerly.
        seconds: Time of a whole step as called from Python, measured likewise.
        reason: Why it runs eagerly; empty for a program.
        after: The optimizers that follow the program, in Python.
    """

    model: str
    kind: str
    inputs: Operands
    kernels: tuple[StepKernel, ...] = ()
    memory: StepMemory | None = None
    machine: Machine | None = None
    seconds: float | None = None
    reason: str = ""
    after: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The kind of step in words."""
        return {"train": "Training", "test": "Evaluation", "predict": "Prediction"}[
            self.kind
        ] + " step"

    @property
    def batch_size(self) -> int:
        """Number of samples of the step."""
        return self.inputs[0][1][0] if self.inputs and self.inputs[0][1] else 1

    @property
    def kernel_seconds(self) -> float | None:
        """The kernels' times together; None if not measured."""
        times = [kernel.seconds for kernel in self.kernels if kernel.seconds is not None]
        return sum(times) if times else None

    @property
    def outside_seconds(self) -> float | None:
        """The time of a step that no kernel accounts for; None if not measured."""
        inside = self.kernel_seconds
        return None if inside is None or not self.seconds else max(0.0, self.seconds - inside)

    @property
    def floor(self) -> float:
        """The kernels' floors together."""
        return sum(kernel.floor for kernel in self.kernels)

    def __str__(self) -> str:
        return self.text()

    def text(self, least_share: float = 0.0) -> str:
        """Return the table.

        Args:
            least_share: Kernels that take less than this share of the time (or of the floor, if
                no time was measured) are joined in one row. Default 0: every kernel has its own.
        """
        from autodan.models.explain_table import table

        return table(self, least_share)

    def plot(self, target: str | os.PathLike[str] | Axes | None = None) -> Figure:
        """Draw a bar for each kernel, in their order, with its floor marked.

        Args:
            target: A file to write (.png, .svg, .pdf), or axes of matplotlib to draw in.
                Default: a figure for `matplotlib.pyplot.show()`.

        Returns:
            The matplotlib figure.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: the step runs eagerly; or the file cannot be written.
        """
        from autodan.models.explain_picture import draw

        return draw(self, target)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold; times are in seconds."""
        kernels = [
            {
                "name": kernel.name,
                "family": kernel.meaning.family,
                "does": kernel.meaning.text,
                "fused": kernel.meaning.fused,
                "inputs": _plain(kernel.inputs),
                "outputs": _plain(kernel.outputs),
                "operations": kernel.operations,
                "bytes_read": kernel.bytes_read,
                "bytes_written": kernel.bytes_written,
                "floor": kernel.floor,
                "bound": kernel.bound,
                "seconds": kernel.seconds,
            }
            for kernel in self.kernels
        ]
        machine = self.machine
        return {
            "model": self.model,
            "kind": self.kind,
            "inputs": _plain(self.inputs),
            "eager_because": self.reason or None,
            "kernels": kernels,
            "after": list(self.after),
            "memory": None if self.memory is None else asdict(self.memory),
            "isa": None if machine is None else machine.isa,
            "threads": None if machine is None else machine.threads,
            "floor": self.floor,
            "kernel_seconds": self.kernel_seconds,
            "seconds": self.seconds,
        }


def _plain(operands: Operands) -> list[dict[str, Any]]:
    return [{"dtype": dtype, "shape": list(shape)} for dtype, shape in operands]
