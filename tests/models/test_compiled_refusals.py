"""What cannot be compiled runs eagerly, says so once, and is right all the same."""

from __future__ import annotations

import random
import time
import warnings

import numpy as np
import pytest
from compiled_reference import X, Y, both, check_compiled, check_eager, classifier, same, state

import autodan as ad
from autodan import layers, losses, metrics, models


def noticed(make, use, reason, kinds=("train",)):
    """Use both models; check that the compiled one gave one notice for each kind of step."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = both(make, use, kinds=None)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1, messages
    assert "step runs eagerly, since" in messages[0]
    assert reason in messages[0]
    for kind in kinds:
        check_eager(model, kind)
    return model


def train(model):
    results = [model.train_on_batch(X, Y) for _ in range(2)]
    return [*results, model.fit(X, Y, batch_size=5, shuffle=False, verbose=0).history]


class Reads(layers.Layer):
    """A layer whose call does what the test says."""

    def __init__(self, act):
        super().__init__()
        self.act = act
        self.count = 0
        self.log = []
        self.last = None

    def call(self, inputs):
        return self.act(self, inputs)


def counts(layer, x):
    layer.count += 1
    return x


def scales(layer, x):
    layer.count += 1
    return x * layer.count


def branches(layer, x):
    if ad.ops.mean(x) > 0:
        return x * 2
    return x


def hides(layer, x):
    try:
        return x * float(ad.ops.max(x))
    except Exception:
        return x * 3


def keeps(layer, x):
    layer.last = x
    return x


def remembers(layer, x):
    y = x + layer.log[-1][0] if layer.log else x
    layer.log.append(x.detach())
    return y


def creates(layer, x):
    return x * ad.Variable([2.0])


def loops(layer, x):
    for _ in range(int(ad.ops.sum(x > 0))):
        x = x * 0.99
    return x


READS = {
    "float": (lambda layer, x: x * float(ad.ops.max(x)), "was read"),
    "numpy": (lambda layer, x: x + x.numpy().max(), "was read"),
    "np.asarray": (lambda layer, x: x + np.asarray(x).max(), "was read"),
    "tolist": (lambda layer, x: x + x.tolist()[0][0], "was read"),
    "item": (lambda layer, x: x + ad.ops.max(x).item(), "was read"),
    "if": (branches, "was read"),
    "int": (loops, "was read"),
    "in a try": (hides, "was read"),
    "a list": (lambda layer, x: layer.log.append(1) or x, "changes an attribute"),
    "a counter": (counts, "changes an attribute"),
    "a counter that scales": (scales, "changes from call to call"),
    "a tensor kept": (keeps, "changes an attribute"),
    "a tensor of the step before": (remembers, "earlier step"),
    "a variable made": (creates, "changes from call to call"),
}


@pytest.mark.parametrize("name", READS)
def test_layers(name):
    act, reason = READS[name]
    model = noticed(lambda: classifier(Reads(act)), train, reason)
    # Evaluations and predictions, too; what one kind of step has said, another does not repeat.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
    assert not caught
    check_eager(model, "test")
    check_eager(model, "predict")


OUTSIDE = {
    "np.random": lambda: np.random.uniform(0.5, 1.0),
    "an array of np.random": lambda: np.random.uniform(0.5, 1.0, size=5).astype("float32"),
    "random": random.random,
    "the time": lambda: time.perf_counter() % 1.0,
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_numbers_from_outside(name):
    model = classifier(Reads(lambda layer, x: x * OUTSIDE[name]()))
    with pytest.warns(UserWarning, match="changes? from call to call") as caught:
        model.fit(X, Y, verbose=0)
        model.fit(X, Y, verbose=0)
    assert len(caught) == 1
    check_eager(model)
    # Each call draws again.
    assert len({model.test_on_batch(X, Y) for _ in range(4)}) > 1


def test_printing_compiles(capsys):
    def prints(layer, x):
        print("shape", x.shape, x.dtype)
        return x

    model = classifier(Reads(prints))
    model.fit(X, Y, epochs=3, verbose=0)
    check_compiled(model, "train")
    assert "shape (12, 5) float32" in capsys.readouterr().out
    model.fit(X, Y, epochs=3, verbose=0)
    assert not capsys.readouterr().out.count("shape (12, 5)") > 1


def test_writing_into_a_tensor():
    def writes(layer, x):
        y = (x * 1).detach()
        y[:, 0] = 0.5
        return x + y

    noticed(lambda: classifier(Reads(writes)), train, "was read")


class Own(models.Model):
    """A model whose training step is the test's."""

    def __init__(self, step):
        super().__init__()
        self.dense = layers.Dense(3, "softmax")
        self.step = step

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        return self.step(self, data)


def own(step):
    model = Own(step)
    model(X)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def stepped(model, data, times=1):
    x, y = data
    loss = model.compute_loss(x, y, model(x, training=True))
    variables = model.trainable_variables
    for _ in range(times):
        model.optimizer.apply(ad._core.grad(loss, variables, retain_graph=True), variables)
    return loss


def reads_updated(model, data):
    loss = stepped(model, data)
    return {"loss": loss, "norm": ad.ops.sum(ad.ops.square(model.dense.kernel))}


def trains_another(model, data):
    inner = classifier()
    inner.fit(X, Y, verbose=0)
    return {"loss": stepped(model, data)}


def assigns_updated(model, data):
    loss = stepped(model, data)
    model.dense.bias.assign(ad.ops.zeros(3))
    return {"loss": loss}


STEPS = {
    "float of the loss": (lambda m, d: {"loss": float(stepped(m, d))}, "was read"),
    "a variable read after its update": (reads_updated, "read after an optimizer"),
    "a variable assigned after its update": (assigns_updated, "assigned after an optimizer"),
    "two updates": (lambda m, d: {"loss": stepped(m, d, times=2)}, "updated twice"),
    "another training": (trains_another, ""),
}


@pytest.mark.parametrize("name", STEPS)
def test_training_steps(name):
    step, reason = STEPS[name]
    noticed(lambda: own(step), train, reason)


def test_python_numbers_that_a_step_returns():
    made = []

    def constant(model, data):
        return {"loss": stepped(model, data), "three": 3.0}

    model = own(constant)
    assert model.fit(X, Y, verbose=0).history["three"] == [3.0]
    check_compiled(model, "train")

    def counting(model, data):
        made.append(1)
        return {"loss": stepped(model, data), "count": len(made)}

    model = own(counting)
    with pytest.warns(UserWarning, match="Python numbers that it returns"):
        history = model.fit(X, Y, batch_size=4, epochs=3, verbose=0).history
    assert history["count"] == sorted(set(history["count"]))


def test_metrics_with_state_in_python():
    class Calls(metrics.Metric):
        calls = 0

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.calls += len(y_pred)

        def result(self):
            return self.calls

        def reset_state(self):
            self.calls = 0

    noticed(lambda: classifier(metrics=[Calls("calls")]), train, "change from call to call")


def test_losses_that_compute_in_numpy():
    class Weighted(losses.Loss):
        def call(self, y_true, y_pred):
            weight = 1.0 + (np.asarray(y_true) == 1)
            return weight * losses.sparse_categorical_crossentropy(y_true, y_pred)

    noticed(lambda: classifier(loss=Weighted()), train, "was read")


def test_a_choice_of_the_user_is_not_noted():
    model = classifier(Reads(branches))
    model.run_eagerly = True
    model.fit(X, Y, verbose=0)
    assert not model._programs._entries


def test_streams_of_batches_compile():
    def use(model):
        def batches():
            while True:
                yield X[:5], Y[:5]
                yield X[5:], Y[5:]

        return model.fit(batches(), steps_per_epoch=4, epochs=2, verbose=0).history

    both(lambda: classifier(layers.Dropout(0.5), metrics=["accuracy"]), use)


def test_an_eager_step_learns_as_much():
    """The traces that failed must leave nothing behind."""
    model = classifier(Reads(branches), layers.Dropout(0.5))
    before = state(model)
    with pytest.warns(UserWarning, match="was read"):
        model.test_on_batch(X, Y)
    after = state(model)
    for part in ("weights", "optimizer", "draws"):
        same(before[part], after[part])
    assert model.losses == []
