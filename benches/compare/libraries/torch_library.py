"""PyTorch: eager in both memory formats, and compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from benches.compare.cases import NETWORKS
from benches.compare.data import images
from benches.compare.libraries.base import Learner, NotOfferedError, Run, batches, numbers
from benches.compare.libraries.base import Library as Base
from torch import nn

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Library(Base):
    """Forms "contiguous" and "channels_last" (eager), and "compiled" (channels_last)."""

    module = "torch"

    def __init__(self, form: str, threads: int) -> None:
        super().__init__(form, threads)
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.format = torch.contiguous_format if form == "contiguous" else torch.channels_last

    def describe(self) -> str:
        return f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"

    def _only_eager(self) -> None:
        if self.form != "contiguous":
            raise NotOfferedError("one form is enough: the layout of images does not matter")

    def _images(self, *nhwc: int, seed: int = 0) -> torch.Tensor:
        """Return images of a shape given as NHWC, in this form's memory format."""
        x = torch.from_numpy(numbers(*nhwc, seed=seed)).permute(0, 3, 1, 2)
        return x.contiguous(memory_format=self.format)

    def matmul(self, m: int, k: int, n: int, form: str) -> Run:
        self._only_eager()
        a = torch.from_numpy(numbers(*((k, m) if form == "tn" else (m, k))))
        b = torch.from_numpy(numbers(*((n, k) if form == "nt" else (k, n))))
        a, b = a.T if form == "tn" else a, b.T if form == "nt" else b
        out = torch.empty(m, n)
        return lambda: torch.mm(a, b, out=out)

    def conv(
        self,
        batch: int,
        channels: int,
        filters: int,
        side: int,
        kernel: int,
        padding: str,
        depthwise: bool,
        passes: str,
    ) -> Run:
        if self.form == "compiled":
            raise NotOfferedError("the same kernels as eager")
        groups = channels if depthwise else 1
        x = self._images(batch, side, side, channels)
        w = self._images(filters, kernel, kernel, channels // groups, seed=1)
        margin = kernel // 2 if padding == "same" else 0
        if passes == "forward":
            return lambda: nn.functional.conv2d(x, w, padding=margin, groups=groups)
        y = nn.functional.conv2d(x, w, padding=margin, groups=groups)
        dy = torch.randn_like(y)
        wanted = [passes == "backward", True, False]
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, w, None, [1, 1], [margin] * 2, [1, 1], False, [0, 0], groups, wanted
        )

    def pool(self, shape: tuple[int, ...], window: int, mode: str, passes: str) -> Run:
        if self.form == "compiled":
            raise NotOfferedError("the same kernels as eager")
        x = self._images(*shape)
        sizes = [window, window]
        if mode == "max":
            y, where = torch.ops.aten.max_pool2d_with_indices(x, sizes, sizes)
            dy = torch.randn_like(y)
            if passes == "forward":
                return lambda: torch.ops.aten.max_pool2d_with_indices(x, sizes, sizes)
            return lambda: torch.ops.aten.max_pool2d_with_indices_backward(
                dy, x, sizes, sizes, [0, 0], [1, 1], False, where
            )
        y = nn.functional.avg_pool2d(x, window)
        dy = torch.randn_like(y)
        if passes == "forward":
            return lambda: nn.functional.avg_pool2d(x, window)
        return lambda: torch.ops.aten.avg_pool2d_backward(
            dy, x, sizes, sizes, [0, 0], False, True, None
        )

    def elementwise(self, op: str, rows: int, columns: int) -> Run:
        x, bias = torch.from_numpy(numbers(rows, columns)), torch.from_numpy(numbers(columns))
        out = torch.empty_like(x)
        if self.form == "channels_last":
            raise NotOfferedError("one eager form is enough")
        if op == "bias+relu":

            def function() -> torch.Tensor:
                return torch.relu_(torch.add(x, bias, out=out))

            return torch.compile(lambda: torch.relu(x + bias)) if self._compiled else function
        if self._compiled:
            raise NotOfferedError("the same kernels as eager")
        if op == "sum":
            return lambda: torch.sum(x)
        named = getattr(torch, op)
        return lambda: named(x, out=out)

    @property
    def _compiled(self) -> bool:
        return self.form == "compiled"

    def adam(self, shapes: list[tuple[int, ...]]) -> Run:
        self._only_eager()
        parameters = [nn.Parameter(torch.from_numpy(numbers(*shape))) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.from_numpy(numbers(*parameter.shape, seed=1))
        return torch.optim.Adam(parameters, eps=1e-7, fused=True).step

    def add_small(self, autograd: bool) -> Run:
        self._only_eager()
        a, b = torch.from_numpy(numbers(10)), torch.from_numpy(numbers(10))
        a.requires_grad_(autograd)
        return lambda: a + b

    def import_time(self) -> Run:
        self._only_eager()
        return super().import_time()

    def _model(self, network: str) -> tuple[Any, tuple[int, int, int]]:
        layers, shape = NETWORKS[network]
        (side, _, channels), features, modules = shape, 0, []
        for name, *rest in layers:
            if name == "conv":
                filters, kernel, padding, activation = rest
                margin = kernel // 2 if padding == "same" else 0
                modules.append(nn.Conv2d(channels, filters, kernel, padding=margin))
                channels, side = filters, side + 2 * margin - kernel + 1
            elif name == "flatten":
                modules.append(nn.Flatten())
                activation, features = None, channels * side * side
            elif name == "dense":
                units, activation = rest
                modules.append(nn.Linear(features, units))
                features = units
            else:
                pool = nn.MaxPool2d if name == "maxpool" else nn.AvgPool2d
                modules.append(pool(rest[0]))
                activation, side = None, side // rest[0]
            if activation:
                modules.append(_ACTIVATIONS[activation]())
        for module in modules:  # as all others begin
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        return nn.Sequential(*modules).to(memory_format=self.format), shape

    def _place(self, x: np.ndarray) -> torch.Tensor:
        placed = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return placed.contiguous(memory_format=self.format)

    def learner(
        self, network: str, batch: int, x: np.ndarray, y: np.ndarray, seed: int = 1
    ) -> Learner:
        torch.manual_seed(seed)
        model, _ = self._model(network)
        pictures, labels = self._place(x), torch.from_numpy(y.astype(np.int64))
        optimizer = torch.optim.Adam(model.parameters(), eps=1e-7, fused=True)

        def loss_and_hits(xs: torch.Tensor, ys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = model(xs)
            hits = (logits.argmax(1) == ys).sum()
            return nn.functional.cross_entropy(logits, ys), hits

        step = torch.compile(loss_and_hits) if self._compiled else loss_and_hits

        def epoch(count: int | None) -> None:
            total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            order = torch.randperm(count or len(pictures))
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                loss, hits = step(pictures[chosen], labels[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
                correct += hits
            results = total.item(), correct.item()
            assert all(map(math.isfinite, results))

        def classes(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return np.concatenate([model(self._place(b)).argmax(1) for b in batches(x)])

        return Learner(epoch, classes)

    def infer(self, network: str, batch: int) -> Run:
        model, shape = self._model(network)
        x = self._place(images(shape, batch)[0])
        model.eval()
        compiled = torch.compile(model) if self._compiled else model

        def run() -> np.ndarray:
            with torch.inference_mode():
                return compiled(x).numpy()

        return run
