"""autodan itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from benches.compare.cases import NETWORKS
from benches.compare.data import images
from benches.compare.libraries.base import Learner, Run, numbers
from benches.compare.libraries.base import Library as Base

import autodan as ad
from autodan import _core

_LAYERS = {
    "conv": lambda filters, kernel, padding, activation: ad.layers.Conv2D(
        filters, kernel, padding=padding, activation=activation
    ),
    "maxpool": ad.layers.MaxPooling2D,
    "averagepool": ad.layers.AveragePooling2D,
    "flatten": ad.layers.Flatten,
    "dense": lambda units, activation: ad.layers.Dense(units, activation=activation),
}


class Library(Base):
    """Form "fit": whole `fit`, and functions on tensors; "eager": without compiled steps."""

    module = "autodan"

    def __init__(self, form: str, threads: int) -> None:
        super().__init__(form, threads)
        _core.set_num_threads(threads)

    def describe(self) -> str:
        return f"{ad.__version__} ({_core.isa()})"

    def matmul(self, m: int, k: int, n: int, form: str) -> Run:
        a = ad.asarray(numbers(*((k, m) if form == "tn" else (m, k))))
        b = ad.asarray(numbers(*((n, k) if form == "nt" else (k, n))))
        a, b = a.T if form == "tn" else a, b.T if form == "nt" else b
        return lambda: ad.matmul(a, b)

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
        groups = channels if depthwise else 1
        wants_x = passes == "backward"
        x = ad.tensor(numbers(batch, side, side, channels), requires_grad=wants_x)
        w = ad.tensor(numbers(kernel, kernel, channels // groups, filters), requires_grad=True)

        def forward() -> Any:
            return _core.conv2d(x, w, 1, padding, 1, groups)

        if passes == "forward":
            with ad.no_grad():
                x, w = x.detach(), w.detach()
            return forward
        y = forward()
        dy = ad.asarray(numbers(*y.shape))
        inputs = [x, w] if wants_x else [w]
        return lambda: _core.grad(y, inputs, dy, retain_graph=True)

    def pool(self, shape: tuple[int, ...], window: int, mode: str, passes: str) -> Run:
        op = _core.max_pool2d if mode == "max" else _core.average_pool2d
        x = ad.tensor(numbers(*shape), requires_grad=passes == "backward")
        if passes == "forward":
            return lambda: op(x, window)
        y = op(x, window)
        dy = ad.asarray(numbers(*y.shape))
        return lambda: _core.grad(y, [x], dy, retain_graph=True)

    def elementwise(self, op: str, rows: int, columns: int) -> Run:
        x, bias = ad.asarray(numbers(rows, columns)), ad.asarray(numbers(columns))
        if op == "bias+relu":
            return lambda: _core.bias_activation(x, bias, "relu")
        function = getattr(ad, op)
        return lambda: function(x)

    def adam(self, shapes: list[tuple[int, ...]]) -> Run:
        variables = [ad.Variable(numbers(*shape)) for shape in shapes]
        gradients = [ad.asarray(numbers(*shape, seed=1)) for shape in shapes]
        optimizer = ad.optimizers.Adam()
        optimizer.build(variables)
        return lambda: optimizer.apply(gradients, variables)

    def add_small(self, autograd: bool) -> Run:
        a = ad.tensor(numbers(10), requires_grad=autograd)
        b = ad.asarray(numbers(10))
        return lambda: a + b

    def _model(self, network: str) -> tuple[Any, tuple[int, int, int]]:
        layers, shape = NETWORKS[network]
        model = ad.Sequential([ad.Input(shape), *(_LAYERS[name](*rest) for name, *rest in layers)])
        model.compile(
            optimizer="adam",
            loss=ad.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            run_eagerly=self.form == "eager",
        )
        return model, shape

    def learner(
        self, network: str, batch: int, x: np.ndarray, y: np.ndarray, seed: int = 1
    ) -> Learner:
        ad.utils.set_random_seed(seed)
        model, _ = self._model(network)
        return Learner(
            lambda count: model.fit(x[:count], y[:count], batch_size=batch, verbose=0),
            lambda x: np.argmax(model.predict(x, batch_size=250, verbose=0), 1),
        )

    def infer(self, network: str, batch: int) -> Run:
        model, shape = self._model(network)
        x, _ = images(shape, batch)
        return lambda: model.predict_on_batch(x)
