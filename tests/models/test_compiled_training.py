"""Every loss, metric and optimizer: a compiled step does what an eager one does."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_reference import X, Y, both, classifier, entries, labels, rows, same, steps

import autodan as ad
from autodan import layers, losses, metrics, optimizers
from autodan.optimizers import schedules

ALL = ("train", "test", "predict")
TARGETS = np.eye(3)[Y]


def by_object(module, names):
    """The names of classes and functions, one for each object."""
    return list({id(getattr(module, name)): name for name in names}.values())


def targets(name):
    return Y if "sparse" in name.lower() or name == "Accuracy" else TARGETS


def of_one_kind(module):
    skipped = {"Loss", "Metric", "deserialize", "get", "serialize", "Sum", "Mean"}
    names = [n for n in module.__all__ if n not in skipped and "Wrapper" not in n]
    return by_object(module, names)


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_one_kind(losses))
def test_losses(name, floatx):
    both(lambda: classifier(loss=getattr(losses, name)), steps(X, targets(name)), floatx, ALL)


class Cubed(losses.Loss):
    def call(self, y_true, y_pred):
        return ad.ops.mean(ad.ops.abs(y_pred - y_true) ** 3, axis=-1)


OPTIONS = {
    "logits": lambda: losses.SparseCategoricalCrossentropy(from_logits=True),
    "ignored class": lambda: losses.SparseCategoricalCrossentropy(ignore_class=1),
    "one-hot logits": lambda: losses.CategoricalCrossentropy(True, label_smoothing=0.1),
    "binary logits": lambda: losses.BinaryCrossentropy(True, label_smoothing=0.2),
    "sum": lambda: losses.MeanSquaredError(reduction="sum"),
    "weighted mean": lambda: losses.Huber(0.5, reduction="mean_with_sample_weight"),
    "class of the user's": Cubed,
    "function": lambda: lambda y_true, y_pred: ad.ops.max(ad.ops.abs(y_true - y_pred), axis=-1),
    "wrapped": lambda: losses.LossFunctionWrapper(losses.huber, delta=0.25),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_losses(name, weighted, floatx):
    y = Y if name in ("logits", "ignored class") else TARGETS
    weight = np.linspace(0.0, 2.0, 12) if weighted else None
    head = "linear" if "logits" in name else "softmax"
    both(lambda: classifier(loss=OPTIONS[name](), head=head), steps(X, y, weight), floatx, ALL)


@pytest.mark.parametrize("weight", [3.0, [0.5]])
def test_loss_weights(weight):
    both(lambda: classifier(loss_weights=weight), steps(), kinds=ALL)


# -- metrics -------------------------------------------------------------------------------------


class Predicted(metrics.Accuracy):
    """The metric that compares class numbers with class numbers."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        chosen = ad.ops.argmax(y_pred, axis=-1)
        super().update_state(y_true[:, None], chosen[:, None], sample_weight)


@pytest.mark.parametrize("name", of_one_kind(metrics))
@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_metrics(argument, name, floatx):
    metric = Predicted if name == "Accuracy" else getattr(metrics, name)
    weight = np.linspace(0.0, 2.0, 12)
    y = targets(name)
    loss = "sparse_categorical_crossentropy" if y is Y else "mse"
    both(lambda: classifier(loss=loss, **{argument: [metric]}), steps(X, y, weight), floatx, ALL)


def test_metrics_added_in_a_model_and_their_dicts(floatx):
    class Both(metrics.Metric):
        def __init__(self):
            super().__init__(name="both")
            self.count = self.add_variable((), "zeros", dtype="int64")
            self.inner = metrics.Sum()

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.count.assign_add(y_pred.shape[0])
            self.inner.update_state(y_pred)

        def result(self):
            return {"count": self.count, "sum": self.inner.result()}

    def largest(y_true, y_pred):
        return ad.ops.max(y_pred, axis=-1)

    def make():
        return classifier(metrics=[Both(), "accuracy", metrics.MeanMetricWrapper(largest)])

    both(make, steps(), floatx, ALL)


# -- optimizers ----------------------------------------------------------------------------------

RULES = {
    "SGD": (optimizers.SGD, ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True})),
    "Adam": (
        # Where a gradient is near 0, so is the step only with an epsilon of some size.
        lambda *a, **k: optimizers.Adam(*a, epsilon=1e-2, **k),
        ({}, {"beta_1": 0.5, "beta_2": 0.75}, {"amsgrad": True}),
    ),
    "RMSprop": (
        lambda *a, **k: optimizers.RMSprop(*a, epsilon=1e-2, **k),
        ({}, {"momentum": 0.5}, {"centered": True}, {"momentum": 0.5, "centered": True}),
    ),
}
COMMON = (
    {},
    {"clipnorm": 0.05},
    {"clipvalue": 0.01},
    {"global_clipnorm": 0.05},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "clipvalue": 0.01},
)


def rate_of_steps():
    rates = iter([0.5, 0.25, 0.125])
    return lambda: next(rates)


RATES = {
    "number": lambda: 0.1,
    "exponential": lambda: schedules.ExponentialDecay(0.5, 1, 0.5),
    "piecewise": lambda: schedules.PiecewiseConstantDecay([1], [0.5, 0.125]),
    "cosine": lambda: schedules.CosineDecay(0.5, 4),
    "function": rate_of_steps,
}


def test_every_optimizer_has_a_case():
    exported = {name: getattr(optimizers, name) for name in optimizers.__all__}
    assert set(RULES) == {
        name
        for name, value in exported.items()
        if isinstance(value, type) and value is not optimizers.Optimizer
    }


@pytest.mark.parametrize("common", COMMON, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, (_, choices) in RULES.items() for options in choices],
)
def test_optimizers(name, options, common, floatx):
    make = RULES[name][0]
    model = both(lambda: classifier(optimizer=make(0.1, **options, **common)), steps(), floatx, ALL)
    assert int(model.optimizer.iterations) == 2


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("rate", RATES)
def test_learning_rates(rate, name, floatx):
    both(lambda: classifier(optimizer=RULES[name][0](RATES[rate]())), steps(), floatx, ALL)


class Twice(layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(self.inner(inputs))


@pytest.mark.parametrize("kind", ["plain", "penalized", "shared"])
@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.Adam,
        optimizers.SGD,
        lambda rate: optimizers.SGD(rate, momentum=0.9, nesterov=True),
    ],
)
def test_gradients_that_updates_make_themselves(optimizer, kind, floatx):
    def make():
        penalty = "l2" if kind == "penalized" else None
        wide = layers.Dense(190, "tanh", kernel_regularizer=penalty)
        inner = Twice(wide) if kind == "shared" else wide
        return classifier(layers.Dense(190, "tanh"), inner, optimizer=optimizer(0.01))

    model = both(make, steps(), floatx, ALL)
    names = [row[0] for row in entries(model)["train"][0].program.kernels()]
    # With a penalty or a second use, the gradient is more than a product.
    assert names[-1].startswith("Matmul") == (kind == "plain")


def test_variables_without_weight_decay(floatx):
    def make():
        optimizer = optimizers.Adam(0.1, weight_decay=0.5, epsilon=1e-2)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return classifier(optimizer=optimizer)

    both(make, steps(), floatx, ALL)


def test_an_optimizer_of_the_users_own(floatx):
    class Signs(optimizers.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            variable.assign_sub(learning_rate * ad.ops.tanh(10 * gradient))

    both(lambda: classifier(optimizer=Signs(0.1)), steps(), floatx, ALL)


def test_a_subclass_that_writes_its_own_update(floatx):
    class Doubled(optimizers.SGD):
        def update_steps(self, gradients, variables, learning_rate):
            super().update_steps(gradients, variables, 2 * learning_rate)

    model = both(lambda: classifier(optimizer=Doubled(0.1)), steps(), floatx, ALL)
    plain = both(lambda: classifier(optimizer=optimizers.SGD(0.2)), steps(), floatx, ALL)
    same(model.get_weights(), plain.get_weights(), floatx)


def test_an_optimizer_that_has_no_gradient_for_a_variable():
    class Idle(layers.Dense):
        def call(self, inputs):
            super().call(inputs)
            return inputs

    with pytest.warns(UserWarning, match="gradients do not exist for variables"):
        both(lambda: classifier(Idle(5)), steps(rows(4, 4), labels(4)), kinds=ALL)
