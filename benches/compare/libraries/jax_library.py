"""JAX, every run under `jit`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benches.compare.cases import NETWORKS
from benches.compare.data import images
from benches.compare.libraries.base import Learner, NotOfferedError, Run, batches, numbers
from benches.compare.libraries.base import Library as Base
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_ACTIVATIONS: dict[Any, Callable[[Any], Any]] = {
    None: lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


def _convolve(x: Any, w: Any, padding: str, groups: int = 1) -> Any:
    return lax.conv_general_dilated(
        x, w, (1, 1), padding.upper(), dimension_numbers=_LAYOUT, feature_group_count=groups
    )


def _pool(x: Any, window: int, mode: str) -> Any:
    start, function = (-jnp.inf, lax.max) if mode == "max" else (0.0, lax.add)
    sizes = (1, window, window, 1)
    pooled = lax.reduce_window(x, start, function, sizes, sizes, "VALID")
    return pooled if mode == "max" else pooled / window**2


def _adam(parameters: Any, gradients: Any, m: Any, v: Any, t: Any) -> Any:
    rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
    update = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), parameters, m, v)
    return update, m, v


class Library(Base):
    """Form "jit"; buffers that a step replaces are donated."""

    module = "jax"

    def describe(self) -> str:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "all"
        return f"{jax.__version__} (jaxlib {jax.lib.__version__}, {cores} cores)"

    def _timed(self, function: Callable[..., Any], *operands: Any) -> Run:
        compiled = jax.jit(function)
        placed = [jnp.asarray(operand) for operand in operands]
        return lambda: jax.block_until_ready(compiled(*placed))

    def matmul(self, m: int, k: int, n: int, form: str) -> Run:
        a = numbers(*((k, m) if form == "tn" else (m, k)))
        b = numbers(*((n, k) if form == "nt" else (k, n)))
        return self._timed(
            lambda a, b: (a.T if form == "tn" else a) @ (b.T if form == "nt" else b), a, b
        )

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
        x = numbers(batch, side, side, channels)
        w = numbers(kernel, kernel, channels // groups, filters)
        forward = partial(_convolve, padding=padding, groups=groups)
        if passes == "forward":
            return self._timed(forward, x, w)
        dy = numbers(*jax.eval_shape(forward, x, w).shape)
        if passes == "backward":
            return self._timed(lambda x, w, dy: jax.vjp(forward, x, w)[1](dy), x, w, dy)
        return self._timed(lambda x, w, dy: jax.vjp(lambda w: forward(x, w), w)[1](dy), x, w, dy)

    def pool(self, shape: tuple[int, ...], window: int, mode: str, passes: str) -> Run:
        x = numbers(*shape)
        forward = partial(_pool, window=window, mode=mode)
        if passes == "forward":
            return self._timed(forward, x)
        dy = numbers(*jax.eval_shape(forward, x).shape)
        return self._timed(lambda x, dy: jax.vjp(forward, x)[1](dy), x, dy)

    def elementwise(self, op: str, rows: int, columns: int) -> Run:
        x, bias = numbers(rows, columns), numbers(columns)
        if op == "bias+relu":
            return self._timed(lambda x, bias: jax.nn.relu(x + bias), x, bias)
        return self._timed(getattr(jnp, op), x)

    def adam(self, shapes: list[tuple[int, ...]]) -> Run:
        parameters = [jnp.asarray(numbers(*shape)) for shape in shapes]
        gradients = [jnp.asarray(numbers(*shape, seed=1)) for shape in shapes]
        zeros = [jnp.zeros(shape) for shape in shapes]
        state = [parameters, zeros, [z + 0 for z in zeros]]
        step = jax.jit(_adam, donate_argnums=(0, 2, 3))

        def run() -> None:
            state[:] = step(state[0], gradients, state[1], state[2], 1.0)
            jax.block_until_ready(state)

        return run

    def add_small(self, autograd: bool) -> Run:
        if autograd:
            raise NotOfferedError("gradients are traced, not recorded")
        return self._timed(lambda a, b: a + b, numbers(10), numbers(10))

    def _model(self, network: str, seed: int = 1) -> tuple[Any, Any, tuple[int, int, int]]:
        layers, shape = NETWORKS[network]
        generator = np.random.default_rng(seed)
        parameters, x = [], jax.ShapeDtypeStruct((1, *shape), jnp.float32)

        def glorot(*shape: int) -> Any:
            receptive = math.prod(shape[:-2])
            limit = math.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
            return jnp.asarray(generator.uniform(-limit, limit, shape).astype(np.float32))

        def layer(x: Any, spec: tuple[Any, ...], weights: Any) -> Any:
            name, *rest = spec
            if name == "conv":
                _, _, padding, activation = rest
                return _ACTIVATIONS[activation](_convolve(x, weights[0], padding) + weights[1])
            if name == "dense":
                return _ACTIVATIONS[rest[1]](x @ weights[0] + weights[1])
            if name == "flatten":
                return x.reshape(x.shape[0], -1)
            return _pool(x, rest[0], "max" if name == "maxpool" else "average")

        for spec in layers:
            weights: Any = ()
            if spec[0] == "conv":
                weights = (glorot(spec[2], spec[2], x.shape[-1], spec[1]), jnp.zeros(spec[1]))
            elif spec[0] == "dense":
                weights = (glorot(x.shape[-1], spec[1]), jnp.zeros(spec[1]))
            parameters.append(weights)
            x = jax.eval_shape(partial(layer, spec=spec, weights=weights), x)

        def model(parameters: Any, x: Any) -> Any:
            for spec, weights in zip(layers, parameters, strict=True):
                x = layer(x, spec, weights)
            return x

        return model, parameters, shape

    def learner(
        self, network: str, batch: int, x: np.ndarray, y: np.ndarray, seed: int = 1
    ) -> Learner:
        model, parameters, _ = self._model(network, seed)

        def loss_and_hits(parameters: Any, xs: Any, ys: Any) -> Any:
            logits = model(parameters, xs)
            log_p = jax.nn.log_softmax(logits)
            loss = -jnp.take_along_axis(log_p, ys[:, None], 1).mean()
            return loss, (logits.argmax(1) == ys).sum()

        @partial(jax.jit, donate_argnums=(0,))
        def step(state: Any, xs: Any, ys: Any) -> Any:
            parameters, m, v, t, total, correct = state
            (loss, hits), gradients = jax.value_and_grad(loss_and_hits, has_aux=True)(
                parameters, xs, ys
            )
            parameters, m, v = _adam(parameters, gradients, m, v, t + 1)
            return parameters, m, v, t + 1, total + loss, correct + hits

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        state = [parameters, zeros, jax.tree.map(jnp.copy, zeros), 0.0, 0.0, 0]
        generator = np.random.default_rng(seed)

        def epoch(count: int | None) -> None:
            order = generator.permutation(count or len(x))
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                state[:] = step(tuple(state), x[chosen], y[chosen])
            assert math.isfinite(float(state[4]))

        predict = jax.jit(lambda parameters, x: model(parameters, x).argmax(1))

        def classes(x: np.ndarray) -> np.ndarray:
            return np.concatenate([predict(state[0], b) for b in batches(x)])

        return Learner(epoch, classes)

    def infer(self, network: str, batch: int) -> Run:
        model, parameters, shape = self._model(network)
        x, _ = images(shape, batch)
        compiled = jax.jit(model)
        return lambda: np.asarray(compiled(parameters, x))
