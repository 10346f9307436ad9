"""TensorFlow and Keras 3 on it, graph mode with and without XLA."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from benches.compare.cases import NETWORKS
from benches.compare.data import images
from benches.compare.libraries.base import Learner, NotOfferedError, Run, numbers
from benches.compare.libraries.base import Library as Base

_LAYERS: dict[str, Callable[..., Any]] = {
    "conv": lambda filters, kernel, padding, activation: keras.layers.Conv2D(
        filters, kernel, padding=padding, activation=activation
    ),
    "maxpool": keras.layers.MaxPooling2D,
    "averagepool": keras.layers.AveragePooling2D,
    "flatten": keras.layers.Flatten,
    "dense": lambda units, activation: keras.layers.Dense(units, activation=activation),
}


class Library(Base):
    """Forms "graph" (`tf.function`, Keras `fit`) and "xla" (the same with `jit_compile`)."""

    module = "tensorflow"

    def __init__(self, form: str, threads: int) -> None:
        super().__init__(form, threads)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.xla = form == "xla"

    def describe(self) -> str:
        return f"{tf.__version__} (Keras {keras.__version__}, oneDNN)"

    def _timed(self, function: Callable[..., Any], *operands: Any) -> Run:
        compiled = tf.function(function, jit_compile=self.xla)
        placed = [tf.constant(operand) for operand in operands]

        def run() -> None:
            for result in tf.nest.flatten(compiled(*placed)):
                result.numpy()

        return run

    def matmul(self, m: int, k: int, n: int, form: str) -> Run:
        a = numbers(*((k, m) if form == "tn" else (m, k)))
        b = numbers(*((n, k) if form == "nt" else (k, n)))
        return self._timed(
            lambda a, b: tf.matmul(a, b, transpose_a=form == "tn", transpose_b=form == "nt"), a, b
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
        x, padding = numbers(batch, side, side, channels), padding.upper()
        w = numbers(kernel, kernel, channels, filters // channels if depthwise else filters)

        def forward(x: Any, w: Any) -> Any:
            if depthwise:
                return tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], padding)
            return tf.nn.conv2d(x, w, 1, padding)

        if passes == "forward":
            return self._timed(forward, x, w)
        dy = numbers(*forward(x, w).shape)

        def backward(x: Any, w: Any, dy: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, w])
                y = forward(x, w)
            wanted = [x, w] if passes == "backward" else [w]
            return tape.gradient(y, wanted, dy)

        return self._timed(backward, x, w, dy)

    def pool(self, shape: tuple[int, ...], window: int, mode: str, passes: str) -> Run:
        x = numbers(*shape)
        op = tf.nn.max_pool2d if mode == "max" else tf.nn.avg_pool2d

        def forward(x: Any) -> Any:
            return op(x, window, window, "VALID")

        if passes == "forward":
            return self._timed(forward, x)
        y = forward(x)
        dy, sizes = numbers(*y.shape), [1, window, window, 1]
        if mode == "max":
            return self._timed(
                lambda x, y, dy: tf.raw_ops.MaxPoolGrad(
                    orig_input=x,
                    orig_output=y,
                    grad=dy,
                    ksize=sizes,
                    strides=sizes,
                    padding="VALID",
                ),
                x,
                y.numpy(),
                dy,
            )
        return self._timed(
            lambda dy: tf.raw_ops.AvgPoolGrad(
                orig_input_shape=shape, grad=dy, ksize=sizes, strides=sizes, padding="VALID"
            ),
            dy,
        )

    def elementwise(self, op: str, rows: int, columns: int) -> Run:
        x, bias = numbers(rows, columns), numbers(columns)
        if op == "bias+relu":
            return self._timed(lambda x, bias: tf.nn.relu(x + bias), x, bias)
        return self._timed({"sum": tf.reduce_sum, "exp": tf.exp, "tanh": tf.tanh}[op], x)

    def adam(self, shapes: list[tuple[int, ...]]) -> Run:
        variables = [keras.Variable(numbers(*shape)) for shape in shapes]
        gradients = [tf.constant(numbers(*shape, seed=1)) for shape in shapes]
        optimizer = keras.optimizers.Adam()
        optimizer.build(variables)
        step = tf.function(lambda: optimizer.apply(gradients, variables), jit_compile=self.xla)

        def run() -> None:
            step()
            variables[-1].numpy()

        return run

    def add_small(self, autograd: bool) -> Run:
        if autograd or self.xla:
            raise NotOfferedError("eager addition, without a tape")
        a, b = tf.constant(numbers(10)), tf.constant(numbers(10))
        return lambda: a + b

    def import_time(self) -> Run:
        if self.xla:
            raise NotOfferedError("the same as graph")
        return super().import_time()

    def _model(self, network: str) -> tuple[Any, tuple[int, int, int]]:
        layers, shape = NETWORKS[network]
        model = keras.Sequential(
            [keras.Input(shape), *(_LAYERS[name](*rest) for name, *rest in layers)]
        )
        model.compile(
            optimizer="adam",
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=self.xla,
        )
        return model, shape

    def learner(
        self, network: str, batch: int, x: np.ndarray, y: np.ndarray, seed: int = 1
    ) -> Learner:
        keras.utils.set_random_seed(seed)
        model, _ = self._model(network)
        return Learner(
            lambda count: model.fit(x[:count], y[:count], batch_size=batch, verbose=0),
            lambda x: model.predict(x, batch_size=250, verbose=0).argmax(1),
        )

    def infer(self, network: str, batch: int) -> Run:
        model, shape = self._model(network)
        x, _ = images(shape, batch)
        compiled = tf.function(lambda x: model(x, training=False), jit_compile=self.xla)
        return lambda: compiled(x).numpy()
