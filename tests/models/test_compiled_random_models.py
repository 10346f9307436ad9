"""Models made at random: two compiled steps do what two eager ones do."""

from __future__ import annotations

import numpy as np
from compiled_reference import both
from hypothesis import given, note
from hypothesis import strategies as st

import autodan as ad
from autodan import layers, models, optimizers

ACTIVATIONS = st.sampled_from(["linear", "relu", "tanh", "sigmoid", "elu"])
PADDINGS = st.sampled_from(["valid", "same"])
# An epsilon of some size: a gradient of nothing but roundings must not become a whole step.
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01, epsilon=1e-2),
    "clipped adam": lambda: optimizers.Adam(0.01, epsilon=1e-2, global_clipnorm=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.01, epsilon=1e-2, weight_decay=0.01),
}
LOSSES = ("mse", "huber", "sparse_categorical_crossentropy")


@st.composite
def stacks(draw):
    """Layers by name and arguments, such that each fits what comes before."""
    sides = draw(st.tuples(st.integers(3, 7), st.integers(3, 7)))
    shape = (*sides, draw(st.integers(1, 3)))
    flat, stack = False, []
    for _ in range(draw(st.integers(1, 4))):
        names = ["Dense", "BatchNormalization", "Dropout", "Activation"]
        if not flat:
            names += ["Conv2D", "Conv2D", "MaxPooling2D", "AveragePooling2D", "Flatten"]
        name = draw(st.sampled_from(names))
        arguments = {}
        if name == "Dense":
            arguments = {"units": draw(st.integers(1, 5)), "activation": draw(ACTIVATIONS)}
        elif name == "Dropout":
            arguments = {"rate": draw(st.sampled_from([0.0, 0.25, 0.5]))}
        elif name == "Activation":
            arguments = {"activation": draw(ACTIVATIONS)}
        elif name == "Flatten":
            flat = True
        elif name != "BatchNormalization":
            window = draw(st.integers(1, 3))
            stride, padding = draw(st.integers(1, 2)), draw(PADDINGS)
            if min(sides) < window:
                padding = "same"
            cut = window - 1 if padding == "valid" else 0
            sides = [-(-(side - cut) // stride) for side in sides]
            arguments = {"strides": stride, "padding": padding}
            if name == "Conv2D":
                arguments |= {"filters": draw(st.integers(1, 4)), "kernel_size": window}
                arguments |= {"activation": draw(ACTIVATIONS), "use_bias": draw(st.booleans())}
            else:
                arguments |= {"pool_size": window}
        stack.append((name, arguments))
    return shape, stack


@given(
    stack=stacks(),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    loss=st.sampled_from(LOSSES),
    metrics=st.lists(st.sampled_from(["accuracy", "mse"]), unique=True),
    dtype=st.sampled_from(["float32", "float64"]),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_models(stack, optimizer, loss, metrics, dtype, size, seed):
    shape, parts = stack
    note(parts)
    random = np.random.default_rng(seed)
    x = random.normal(size=(size, *shape))
    classes = loss.startswith("sparse")
    y = random.integers(0, 3, size) if classes else random.normal(size=(size, 3))

    def make():
        model = models.Sequential(
            [
                layers.Input(shape),
                *[getattr(layers, name)(**arguments) for name, arguments in parts],
                layers.Flatten(),
                layers.Dense(3, "softmax" if classes else None),
            ]
        )
        chosen = [] if classes and "mse" in metrics else metrics
        model.compile(OPTIMIZERS[optimizer](), loss, metrics=chosen)
        return model

    def use(model):
        steps = [model.train_on_batch(x, y) for _ in range(2)]
        return [*steps, model.predict_on_batch(x)]

    before = ad.config.floatx()
    ad.config.set_floatx(dtype)
    try:
        both(make, use, dtype, ("train", "predict"))
    finally:
        ad.config.set_floatx(before)
