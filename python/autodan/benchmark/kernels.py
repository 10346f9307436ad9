"""The kernels that are measured: their operands, and what they do at least.

Operations are nominal: an arithmetic operation, a comparison or a value of a function such as `exp`
counts as one, and zeros count like other numbers. Bytes are those of the operands, each moved once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import autodan as ad
from autodan import _core

__all__ = ["FAMILIES", "Kernel", "Run", "all_kernels", "matching"]

Run = Callable[[], object]
Shape = Sequence[int]


@dataclass(frozen=True)
class Kernel:
    """A kernel on operands of given shapes.

    Args:
        family: what it belongs to, one of `FAMILIES`.
        name: what it does, with the shapes.
        operations: nominal operations of one run.
        read: bytes of what it reads.
        written: bytes of what it writes.
        prepare: makes the operands and returns the function to time.
        in_place: whether it writes over what it has read.
    """

    family: str
    name: str
    operations: float
    read: int
    written: int
    prepare: Callable[[], Run]
    in_place: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of all operands."""
        return self.read + self.written

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.bytes

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


def matching(text: str) -> list[Kernel]:
    """Returns the kernels whose family and name contain a text, in either case.

    Example:
        >>> [kernel.name for kernel in matching("Matmul 64x")]
        ['64x64x64']
    """
    return [kernel for kernel in all_kernels() if text.lower() in str(kernel).lower()]


def all_kernels() -> list[Kernel]:
    """Returns all kernels, family by family.

    Example:
        >>> len(all_kernels()) > 50
        True
    """
    return [kernel for family in FAMILIES.values() for kernel in family()]


def _numbers(*shape: int, seed: int = 0) -> Any:
    """A tensor of numbers such as networks see: zeros and denormals would time differently."""
    generator = np.random.default_rng(seed)
    return ad.asarray(generator.standard_normal(shape, dtype=np.float32))


def _size(*shapes: Shape) -> int:
    """The bytes of float32 tensors of these shapes."""
    return 4 * sum(math.prod(shape) for shape in shapes)


def _gradient(output: Any, inputs: list[Any]) -> Run:
    """The gradients of an output with respect to inputs, again and again."""
    dy = _numbers(*output.shape, seed=1)
    return lambda: _core.grad(output, inputs, dy, retain_graph=True)


def _traced(x: Any) -> Any:
    return ad.tensor(x, requires_grad=True)


def _matmul() -> Iterator[Kernel]:
    for n in (64, 128, 256, 512, 1024, 2048):
        yield _product(n, n, n, "nn")
    # Of a Dense layer: the output, and the gradients of the weights and of the input.
    for batch, inputs, units in ((32, 5408, 128), (32, 784, 512), (256, 784, 512)):
        yield _product(batch, inputs, units, "nn")
        yield _product(inputs, batch, units, "tn")
        yield _product(batch, units, inputs, "nt")


def _product(m: int, k: int, n: int, form: str) -> Kernel:
    def prepare() -> Run:
        a = _numbers(k, m).T if form == "tn" else _numbers(m, k)
        b = _numbers(n, k, seed=1).T if form == "nt" else _numbers(k, n, seed=1)
        return lambda: ad.matmul(a, b)

    name = f"{m}x{k}x{n}" + {"nn": "", "tn": ", a.T", "nt": ", b.T"}[form]
    return Kernel("matmul", name, 2.0 * m * k * n, _size((m, k), (k, n)), _size((m, n)), prepare)


@dataclass(frozen=True)
class Conv:
    """A convolution of square images with a square kernel."""

    batch: int
    channels: int
    filters: int
    side: int
    kernel: int
    padding: str = "same"
    groups: int = 1

    def kernels(self) -> Iterator[Kernel]:
        """The three passes; the images that a network gets want no gradient."""
        out = self.side if self.padding == "same" else self.side - self.kernel + 1
        x = (self.batch, self.side, self.side, self.channels)
        w = (self.kernel, self.kernel, self.channels // self.groups, self.filters)
        y = (self.batch, out, out, self.filters)
        operations = 2.0 * math.prod(y) * math.prod(w[:3])
        kind = "depthwise " if self.groups > 1 else ""
        name = f"B{self.batch} {kind}{self.channels}->{self.filters}"
        name += f" {self.side}x{self.side} k{self.kernel}"

        def convolve(x: Any, w: Any) -> Any:
            return _core.conv2d(x, w, 1, self.padding, 1, self.groups)

        def forward() -> Run:
            a, b = _numbers(*x), _numbers(*w, seed=1)
            return lambda: convolve(a, b)

        def data() -> Run:
            a = _traced(_numbers(*x))
            return _gradient(convolve(a, _numbers(*w, seed=1)), [a])

        def weights() -> Run:
            b = _traced(_numbers(*w, seed=1))
            return _gradient(convolve(_numbers(*x), b), [b])

        yield Kernel("conv", f"{name} forward", operations, _size(x, w), _size(y), forward)
        if self.channels > 3:
            yield Kernel("conv", f"{name} data", operations, _size(y, w), _size(x), data)
        yield Kernel("conv", f"{name} weights", operations, _size(x, y), _size(w), weights)


def _conv() -> Iterator[Kernel]:
    for conv in (
        Conv(32, 1, 32, 28, 3, "valid"),
        Conv(32, 3, 32, 32, 3, "valid"),
        Conv(32, 32, 64, 13, 3, "valid"),
        Conv(32, 64, 64, 14, 3),
        Conv(16, 64, 64, 56, 3),
        Conv(16, 128, 128, 28, 3),
        Conv(8, 256, 256, 14, 1),
        Conv(32, 6, 16, 14, 5, "valid"),
        Conv(32, 64, 64, 28, 3, groups=64),
    ):
        yield from conv.kernels()


def _layer() -> Iterator[Kernel]:
    """Products and convolutions with bias and relu in the same pass."""
    for m, k, n in ((32, 5408, 128), (256, 784, 512)):

        def dense(m: int = m, k: int = k, n: int = n) -> Run:
            x, w, bias = _numbers(m, k), _numbers(k, n, seed=1), _numbers(n, seed=2)
            return lambda: _core.linear(x, w, bias, "relu")

        seen = _size((m, k), (k, n), (n,))
        yield Kernel("layer", f"dense {m}x{k}x{n}", 2.0 * m * k * n, seen, _size((m, n)), dense)
    for channels, filters, side in ((1, 32, 28), (32, 64, 13)):
        x, w = (32, side, side, channels), (3, 3, channels, filters)
        y = (32, side - 2, side - 2, filters)

        def conv(x: Shape = x, w: Shape = w) -> Run:
            a, b, bias = _numbers(*x), _numbers(*w, seed=1), _numbers(w[3], seed=2)
            return lambda: _core.conv2d_bias(a, b, bias, activation="relu")

        name = f"conv B32 {channels}->{filters} {side}x{side} k3"
        work = 2.0 * math.prod(y) * 9 * channels
        yield Kernel("layer", name, work, _size(x, w, w[3:]), _size(y), conv)


def _pool() -> Iterator[Kernel]:
    shape, window = (32, 26, 26, 32), 2
    out = (32, 13, 13, 32)
    count, pooled = math.prod(shape), math.prod(out)
    # Operations for each output forwards and each input backwards.
    for mode, op, forward, backward in (
        ("max", _core.max_pool2d, window**2 - 1, 1),
        ("average", _core.average_pool2d, window**2, 1),
    ):

        def run_forward(op: Any = op) -> Run:
            x = _numbers(*shape)
            return lambda: op(x, window)

        def run_backward(op: Any = op) -> Run:
            x = _traced(_numbers(*shape))
            return _gradient(op(x, window), [x])

        name = f"{mode} 2x2 of 32x26x26x32"
        seen = _size(shape, out) if mode == "max" else _size(out)
        yield Kernel(
            "pool", f"{name} forward", forward * pooled, _size(shape), _size(out), run_forward
        )
        yield Kernel("pool", f"{name} backward", backward * count, seen, _size(shape), run_backward)


# Elementwise kernels and the like are measured in caches and beyond them.
MATRICES = ((64, 1024), (4096, 1024))


def _elementwise() -> Iterator[Kernel]:
    for shape in MATRICES:
        row = shape[-1:]
        for name, operands, operations, function in (
            ("add", [shape, shape], 1, ad.add),
            ("exp", [shape], 1, ad.exp),
            ("tanh", [shape], 1, ad.tanh),
            ("bias+relu", [shape, row], 2, lambda x, bias: _core.bias_activation(x, bias, "relu")),
        ):
            yield _call("elementwise", name, operands, shape, operations, function)


def _call(
    family: str,
    name: str,
    operands: Sequence[Shape],
    result: Shape,
    operations: float,
    function: Callable[..., object],
) -> Kernel:
    """A function of tensors, with so many operations for each element of the first."""

    def prepare() -> Run:
        tensors = [_numbers(*shape, seed=seed) for seed, shape in enumerate(operands)]
        return lambda: function(*tensors)

    first = operands[0]
    label = f"{name} {'x'.join(map(str, first))}"
    work = operations * math.prod(first)
    return Kernel(family, label, work, _size(*operands), _size(result), prepare)


def _reduce() -> Iterator[Kernel]:
    for shape in MATRICES:
        yield _call("reduce", "sum", [shape], (), 1, ad.sum)
        yield _call("reduce", "sum of columns", [shape], shape[1:], 1, lambda x: ad.sum(x, axis=0))
        yield _call("reduce", "max of rows", [shape], shape[:1], 1, lambda x: ad.max(x, axis=1))


def _softmax() -> Iterator[Kernel]:
    for rows, classes in ((32, 10), (256, 1000), (4096, 1000)):
        shape = (rows, classes)

        def softmax(shape: Shape = shape) -> Run:
            x = _numbers(*shape)
            return lambda: ad.softmax(x)

        def cross_entropy(shape: Shape = shape) -> Run:
            logits, labels = _numbers(*shape), ad.asarray(np.arange(shape[0]) % shape[1])
            return lambda: _core.sparse_softmax_cross_entropy(logits, labels)

        size, name = _size(shape), f"{rows}x{classes}"
        # Maximum, difference, exponential, sum and quotient; labels are of 8 bytes.
        yield Kernel("softmax", name, 5 * rows * classes, size, size, softmax)
        yield Kernel(
            "softmax",
            f"cross-entropy {name}",
            4 * rows * classes,
            size + 8 * rows,
            4 * rows,
            cross_entropy,
        )


def _norm() -> Iterator[Kernel]:
    shape, channels = (32, 26, 26, 32), (32,)
    size = math.prod(shape)

    def forward() -> Run:
        x, gamma, beta = _numbers(*shape), _numbers(32, seed=1), _numbers(32, seed=2)
        return lambda: _core.batch_norm(x, gamma, beta)

    def backward() -> Run:
        operands = [
            _traced(_numbers(*s, seed=i)) for i, s in enumerate((shape, channels, channels))
        ]
        y, _, _ = _core.batch_norm(*operands)
        return _gradient(y, operands)

    name = "batch norm 32x26x26x32"
    seen, made = _size(shape, channels, channels), _size(shape, channels, channels)
    # The mean 1, the variance 3, the result 2; backwards two sums 3, the gradient 4.
    yield Kernel("norm", f"{name} forward", 6 * size, seen, made, forward)
    yield Kernel("norm", f"{name} backward", 7 * size, seen + _size(shape), made, backward)


def _optimizer() -> Iterator[Kernel]:
    # A network of a convolution and two dense layers, 2.16 million parameters.
    shapes = [(3, 3, 1, 32), (32,), (21632, 100), (100,), (100, 10), (10,)]
    size = _size(*shapes)

    def variables(seed: int) -> list[Any]:
        # Squares: the second moments are not negative.
        return [ad.Variable(_numbers(*shape, seed=seed) ** 2) for shape in shapes]

    def adam() -> Run:
        parameters, m, v = variables(0), variables(1), variables(2)
        gradients = [_numbers(*shape, seed=3) for shape in shapes]
        return lambda: _core.adam_update(parameters, gradients, m, v, 1e-3, 0.9, 0.999, 1e-7, 1000)

    def sgd() -> Run:
        parameters, velocities = variables(0), variables(1)
        gradients = [_numbers(*shape, seed=3) for shape in shapes]
        return lambda: _core.sgd_update(parameters, gradients, velocities, 1e-3, 0.9)

    # Each moment 3 and 4, the step 5; with momentum the velocity 3, the step 1.
    yield Kernel("optimizer", "Adam, 2.16 M", 12 * size / 4, 4 * size, 3 * size, adam, True)
    yield Kernel("optimizer", "SGD, momentum, 2.16 M", 4 * size / 4, 3 * size, 2 * size, sgd, True)


FAMILIES: dict[str, Callable[[], Iterator[Kernel]]] = {
    "matmul": _matmul,
    "conv": _conv,
    "layer": _layer,
    "pool": _pool,
    "elementwise": _elementwise,
    "reduce": _reduce,
    "softmax": _softmax,
    "norm": _norm,
    "optimizer": _optimizer,
}
