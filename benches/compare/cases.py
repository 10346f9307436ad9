"""What is measured: shapes and networks, fixed in advance and the same for every library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

# Timed in rounds, a case at a time; the others are trainings from the start (training.py).
TIMED = (
    "train",
    "infer",
    "matmul",
    "conv",
    "first-layer",
    "pool",
    "elementwise",
    "optimizer",
    "overhead",
)
GROUPS = (*TIMED, "mnist", "memory", "accuracy")


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to time.

    Args:
        group: The table that it belongs to.
        name: Its row.
        kind: The method of a library that prepares it.
        arguments: The arguments of that method.
        work: What one run does, in units of `unit` times a second: a nominal count of
            floating-point operations (dense, zeros included), bytes or images.
        unit: "GFLOP/s", "GB/s", "images/s" or "us"; the last is a time, lower is better.
    """

    group: str
    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    work: float = 1.0
    unit: str = "us"

    def figure(self, seconds: float) -> float:
        """Return the figure for the time of one run."""
        return seconds * 1e6 if self.unit == "us" else self.work / seconds


def all_cases() -> list[Case]:
    """Return every case, group by group."""
    return [
        *_train(),
        *_infer(),
        *_matmul(),
        *_conv(),
        *_pool(),
        *_elementwise(),
        *_optimizer(),
        *_overhead(),
    ]


# Networks: (layer, arguments...), read by every library. All end in logits of 10 classes and are
# trained on the sparse cross-entropy with Adam at its defaults, accuracy included.
Network = tuple[tuple[Any, ...], ...]
FIRST: Network = (
    ("conv", 32, 3, "valid", "relu"),
    ("maxpool", 2),
    ("flatten",),
    ("dense", 128, "relu"),
    ("dense", 10, None),
)
LINEAR: Network = (
    ("conv", 32, 3, "valid", None),
    ("flatten",),
    ("dense", 100, None),
    ("dense", 10, None),
)
CIFAR: Network = (
    ("conv", 32, 3, "valid", "relu"),
    ("maxpool", 2),
    ("conv", 64, 3, "valid", "relu"),
    ("maxpool", 2),
    ("conv", 64, 3, "valid", "relu"),
    ("flatten",),
    ("dense", 64, "relu"),
    ("dense", 10, None),
)
LENET: Network = (
    ("conv", 6, 5, "same", "tanh"),
    ("averagepool", 2),
    ("conv", 16, 5, "valid", "tanh"),
    ("averagepool", 2),
    ("flatten",),
    ("dense", 120, "tanh"),
    ("dense", 84, "tanh"),
    ("dense", 10, None),
)
MLP: Network = (
    ("flatten",),
    ("dense", 512, "relu"),
    ("dense", 512, "relu"),
    ("dense", 10, None),
)
NETWORKS: dict[str, tuple[Network, tuple[int, int, int]]] = {
    "conv32-pool-dense128": (FIRST, (28, 28, 1)),
    "conv32-dense100 (2.16 M)": (LINEAR, (28, 28, 1)),
    "cifar, three conv": (CIFAR, (32, 32, 3)),
    "lenet-5": (LENET, (28, 28, 1)),
    "mlp 784-512-512-10": (MLP, (28, 28, 1)),
}


def _train() -> list[Case]:
    return [
        Case(
            "train",
            f"{name}, B={batch}",
            "train",
            {"network": name, "batch": batch, "images": images},
            images,
            "images/s",
        )
        for name in NETWORKS
        for batch, images in ((32, 3200), (256, 6400))
    ]


def _infer() -> list[Case]:
    name = next(iter(NETWORKS))
    return [
        Case(
            "infer",
            f"{name}, B={batch}",
            "infer",
            {"network": name, "batch": batch},
            batch,
            "images/s",
        )
        for batch in (1, 32, 256)
    ]


def _matmul() -> list[Case]:
    square = [(n, n, n, "nn") for n in (64, 128, 256, 512, 1024, 2048)]
    # The three products of Dense layers: x @ w, then x.T @ dy and dy @ w.T.
    dense = [
        form
        for batch, fan_in, units in ((32, 5408, 128), (32, 784, 512), (256, 784, 512))
        for form in (
            (batch, fan_in, units, "nn"),
            (fan_in, batch, units, "tn"),
            (batch, units, fan_in, "nt"),
        )
    ]
    names = {"nn": "", "tn": ", a.T", "nt": ", b.T"}
    return [
        Case(
            "matmul",
            f"{m}x{k}x{n}{names[form]}",
            "matmul",
            {"m": m, "k": k, "n": n, "form": form},
            2e-9 * m * k * n,
            "GFLOP/s",
        )
        for m, k, n, form in square + dense
    ]


@dataclass(frozen=True)
class Conv:
    """A convolution: NHWC images, square kernel."""

    batch: int
    channels: int
    filters: int
    side: int
    kernel: int
    padding: str
    depthwise: bool = False

    @property
    def out_side(self) -> int:
        """The side of the output."""
        return self.side if self.padding == "same" else self.side - self.kernel + 1

    @property
    def flops(self) -> float:
        """Nominal operations of one pass."""
        depth = 1 if self.depthwise else self.channels
        return 2.0 * self.batch * self.out_side**2 * self.filters * depth * self.kernel**2

    def __str__(self) -> str:
        name = f"{self.channels}->{self.filters} {self.side}x{self.side} k{self.kernel}"
        kind = "depthwise " if self.depthwise else ""
        return f"B{self.batch} {kind}{name} {self.padding}"


def _conv() -> list[Case]:
    general = [
        Conv(32, 32, 64, 13, 3, "valid"),
        Conv(32, 64, 64, 14, 3, "same"),
        Conv(16, 64, 64, 56, 3, "same"),
        Conv(16, 128, 128, 28, 3, "same"),
        Conv(8, 256, 256, 14, 1, "valid"),
        Conv(32, 6, 16, 14, 5, "valid"),
        Conv(32, 64, 64, 28, 3, "same", depthwise=True),
    ]
    first = [Conv(32, 1, 32, 28, 3, "valid"), Conv(32, 3, 32, 32, 3, "valid")]

    def case(group: str, conv: Conv, passes: str, share: int) -> Case:
        arguments = {**vars(conv), "passes": passes}
        return Case(
            group, f"{conv}, {passes}", "conv", arguments, share * conv.flops * 1e-9, "GFLOP/s"
        )

    # A first layer's input needs no gradient, so its backward pass is that of the weights.
    return [
        *(case("conv", conv, "forward", 1) for conv in [first[0], *general]),
        *(case("conv", conv, "backward", 2) for conv in [first[0], *general]),
        *(case("first-layer", conv, "forward", 1) for conv in first),
        *(case("first-layer", conv, "backward-weights", 1) for conv in first),
    ]


def _pool() -> list[Case]:
    shape, window = (32, 26, 26, 32), 2
    read = 4e-9 * math.prod(shape)
    written = read / window**2
    return [
        Case(
            "pool",
            f"{mode} {window}x{window} of 32x26x26x32, {passes}",
            "pool",
            {"shape": shape, "window": window, "mode": mode, "passes": passes},
            read + written,
            "GB/s",
        )
        for mode in ("max", "average")
        for passes in ("forward", "backward")
    ]


def _elementwise() -> list[Case]:
    rows = [("exp", 2), ("tanh", 2), ("sum", 1), ("bias+relu", 2)]
    return [
        Case(
            "elementwise",
            f"{op}, {label}",
            "elementwise",
            {"op": op, "rows": rows_, "columns": 1024},
            4e-9 * passes * rows_ * 1024,
            "GB/s",
        )
        for op, passes in rows
        for label, rows_ in (("256 KB", 64), ("16 MB", 4096))
    ]


def _optimizer() -> list[Case]:
    shapes = [(3, 3, 1, 32), (32,), (21632, 100), (100,), (100, 10), (10,)]
    count = sum(math.prod(shape) for shape in shapes)
    return [
        Case(
            "optimizer",
            f"Adam, {count / 1e6:.2f} M parameters",
            "adam",
            {"shapes": shapes},
            28e-9 * count,
            "GB/s",
        )
    ]


def _overhead() -> list[Case]:
    return [
        Case("overhead", "add two 10-element tensors", "add_small", {"autograd": False}),
        Case("overhead", "the same, recorded for autograd", "add_small", {"autograd": True}),
        Case("overhead", "import", "import_time"),
    ]
