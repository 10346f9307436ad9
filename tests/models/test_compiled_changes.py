"""What changes between steps, in compiled models as in eager ones, at the very next step."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_reference import TOLERANCES, X, Y, both, check_compiled, classifier, entries, rows

import autodan as ad
from autodan import callbacks, layers, losses, metrics, models, optimizers
from autodan.models import programs
from autodan.optimizers import schedules


class Scaled(losses.Loss):
    factor = 1.0

    def call(self, y_true, y_pred):
        return self.factor * losses.sparse_categorical_crossentropy(y_true, y_pred)


class Largest(metrics.Mean):
    factor = 1.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(self.factor * ad.ops.max(y_pred, axis=-1))


def make(optimizer):
    model = classifier(
        layers.Dense(5, "relu", kernel_regularizer=ad.regularizers.L2(0.01)),
        layers.Dropout(0.25, seed=1),
        layers.BatchNormalization(),
        optimizer=optimizer,
        loss=Scaled(),
        metrics=[Largest("largest"), "accuracy"],
    )
    return model


def momentum():
    return optimizers.SGD(0.1, momentum=0.9)


def adam():
    return optimizers.Adam(0.1, epsilon=1e-2)


def setting(path, value):
    """A change: an attribute of a model, found by names and places."""

    def change(model):
        *owners, name = path.split(".")
        for part in owners:
            model = model[int(part)] if part.isdigit() else getattr(model, part)
        setattr(model, name, value)

    return change


def recompiled(**arguments):
    def change(model):
        before = {"optimizer": momentum(), "loss": Scaled(), "metrics": ["accuracy"]}
        model.compile(**{**before, **arguments})
        model.run_eagerly = run_eagerly[0]

    return change


def frozen_and_recompiled(model):
    model.layers[0].trainable = False
    recompiled()(model)


def weights_set(model):
    model.set_weights([w + 0.25 for w in model.get_weights()])


def added(model):
    model.pop()
    model.add(layers.Dropout(0.5, seed=9))
    model.add(layers.Dense(3, "softmax"))
    recompiled()(model)


def other_rate_and_seed(model):
    model.optimizer.learning_rate.assign(0.5)
    model.layers[2].seed_generator.seed = 77


run_eagerly = [False]
CHANGES = {
    "nothing": (adam, lambda model: None),
    "layer frozen": (adam, setting("layers.1.trainable", False)),
    "layer frozen and recompiled": (momentum, frozen_and_recompiled),
    "variable frozen": (adam, setting("layers.1.kernel.trainable", False)),
    "rate of Dropout": (adam, setting("layers.2.rate", 0.75)),
    "Dropout switched off": (adam, setting("layers.2.rate", 0.0)),
    "momentum of the averages": (adam, setting("layers.3.momentum", 0.5)),
    "activation": (adam, setting("layers.1.activation", ad.ops.tanh)),
    "penalty": (adam, setting("layers.1.kernel_regularizer.l2", 0.5)),
    "activity": (adam, setting("layers.0.activity_regularizer", ad.regularizers.L1(0.5))),
    "clipnorm": (adam, setting("optimizer.clipnorm", 0.01)),
    "clipvalue": (adam, setting("optimizer.clipvalue", 0.001)),
    "global_clipnorm": (momentum, setting("optimizer.global_clipnorm", 0.01)),
    "weight_decay": (momentum, setting("optimizer.weight_decay", 0.5)),
    "beta_1": (adam, setting("optimizer.beta_1", 0.25)),
    "epsilon": (adam, setting("optimizer.epsilon", 1.0)),
    "momentum": (momentum, setting("optimizer.momentum", 0.25)),
    "nesterov": (momentum, setting("optimizer.nesterov", True)),
    "rate": (adam, setting("optimizer.learning_rate", 0.5)),
    "assigned rate and a seed": (adam, other_rate_and_seed),
    "schedule": (
        adam,
        setting("optimizer.learning_rate", schedules.ExponentialDecay(0.5, 1, 0.5)),
    ),
    "attribute of the loss": (adam, setting("_compile_loss.factor", 3.0)),
    "reduction of the loss": (adam, setting("_compile_loss.reduction", "sum")),
    "attribute of a metric": (adam, setting("metrics.1.metrics.0.factor", 3.0)),
    "optimizer": (adam, recompiled(optimizer="rmsprop")),
    "loss": (adam, recompiled(loss="sparse_categorical_crossentropy")),
    "loss weight": (adam, recompiled(loss_weights=[0.25])),
    "metrics": (adam, recompiled(weighted_metrics=["crossentropy"])),
    "weights": (adam, weights_set),
    "a variable": (adam, lambda model: model.layers[0].kernel.assign(np.ones((4, 5)))),
    "state of an optimizer": (adam, lambda model: model.optimizer.iterations.assign(7)),
    "layers": (adam, added),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_between_two_steps(name):
    optimizer, change = CHANGES[name]
    ran = []

    def use(model):
        run_eagerly[0] = model.run_eagerly
        results = [model.train_on_batch(X, Y), model.train_on_batch(X, Y)]
        change(model)
        results += [model.train_on_batch(X, Y), model.test_on_batch(X, Y)]
        ran.append(results[2])
        return results

    both(lambda: make(optimizer()), use, kinds=("train", "test"))
    assert len(ran) == 2


@pytest.mark.parametrize("name", CHANGES)
def test_changes_by_a_callback_in_the_middle_of_an_epoch(name):
    optimizer, change = CHANGES[name]

    def use(model):
        run_eagerly[0] = model.run_eagerly

        def act(batch, logs):
            if batch == 1:
                change(model)

        callback = callbacks.LambdaCallback(on_train_batch_end=act)
        arguments = {"batch_size": 3, "shuffle": False, "verbose": 0, "validation_data": (X, Y)}
        return model.fit(X, Y, **arguments, callbacks=[callback]).history

    both(lambda: make(optimizer()), use, kinds=("train", "test"))


def test_each_change_matters():
    """A change that changes nothing would prove nothing."""

    def trained(change, optimizer):
        ad.utils.set_random_seed(11)
        model = make(optimizer())
        run_eagerly[0] = False
        results = [model.train_on_batch(X, Y), model.train_on_batch(X, Y)]
        change(model)
        results += [model.train_on_batch(X, Y), model.test_on_batch(X, Y)]
        return results, model.get_weights()

    def differ(a, b):
        a, b = ad.utils.tree.flatten(a), ad.utils.tree.flatten(b)
        if len(a) != len(b):
            return True
        pairs = zip(a, b, strict=True)
        return any(not np.allclose(x, y, **TOLERANCES["float32"]) for x, y in pairs)

    plain = {rule: trained(CHANGES["nothing"][1], rule) for rule in (adam, momentum)}
    for name, (rule, change) in CHANGES.items():
        assert differ(trained(change, rule), plain[rule]) == (name != "nothing"), name


def test_batches_of_other_sizes_and_dtypes():
    def use(model):
        x = X.astype("float64")
        batches = [X[:5], X[:5].astype("float16"), (X[:5] * 3).astype("int32"), X[:7], x[:5]]
        return [[model.train_on_batch(b, Y[: len(b)]), model.predict_on_batch(b)] for b in batches]

    model = both(lambda: make(adam()), use, kinds=("train", "predict"))
    assert len(entries(model)["train"]) == 3


def test_more_sizes_than_programs():
    def use(model):
        count = programs.MOST_PROGRAMS + 3
        return [model.train_on_batch(rows(n, 4), Y[:1].repeat(n)) for n in range(1, count)]

    with pytest.warns(UserWarning, match="batches have had 8 shapes") as caught:
        model = both(lambda: make(momentum()), use, kinds=None)
    assert len(caught) == 1
    assert len(entries(model)["train"]) == programs.MOST_PROGRAMS


@pytest.mark.parametrize("by_callback", [False, True])
def test_a_model_that_changes_at_every_step(by_callback, monkeypatch):
    traces = []
    trace = programs.trace
    monkeypatch.setattr(programs, "trace", lambda *a: traces.append(1) or trace(*a))

    def use(model):
        def toggle(*_):
            model.layers[1].trainable = not model.layers[1].trainable

        if by_callback:
            callback = callbacks.LambdaCallback(on_train_batch_end=toggle)
            x, y = np.tile(X, (4, 1)), np.tile(Y, 4)
            return model.fit(
                x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[callback]
            ).history
        results = []
        for _ in range(40):
            results.append(model.train_on_batch(X, Y))
            toggle()
        return results

    with pytest.warns(UserWarning, match="changes from step to step") as caught:
        both(lambda: classifier(layers.Dense(5), layers.Dense(5)), use, kinds=None)
    assert len(caught) == 1
    assert len(traces) == programs.MOST_CHANGES + 1


def test_a_layer_that_is_appended_to_a_list():
    class Stack(models.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Dense(3, "softmax")]

        def call(self, inputs):
            for block in self.blocks:
                inputs = block(inputs)
            return inputs

    def use(model):
        results = [model.train_on_batch(X, Y)]
        model.blocks.append(layers.Softmax())
        return [*results, model.train_on_batch(X, Y), model.evaluate(X, Y, verbose=0)]

    def stack():
        model = Stack()
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    both(stack, use, kinds=("train", "test"))


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "evaluate", "test_on_batch"])
def test_parts_that_change_between_two_calls(method):
    class Stack(models.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Dense(4, "tanh"), layers.Dense(4)]
            self.named = {"last": layers.Dense(3)}
            self.sharpness = 2.0

        def call(self, inputs):
            for block in [*self.blocks, *self.named.values()]:
                inputs = block(inputs)
            return inputs * getattr(self, "sharpness", 1.0)

    changes = (
        lambda model: model.blocks.reverse(),
        lambda model: model.blocks.__setitem__(0, layers.Dense(4, "relu")),
        lambda model: model.named.update(last=layers.Dense(3, "softmax")),
        lambda model: delattr(model, "sharpness"),
    )

    def use(model):
        arguments = {} if method.startswith("predict") else {"y": Y}
        if not method.endswith("batch"):
            arguments["verbose"] = 0
        results = [getattr(model, method)(X, **arguments)]
        for change in changes:
            change(model)
            # Averages of losses go on from batch to batch.
            model.reset_metrics()
            results += [getattr(model, method)(X, **arguments)]
            assert np.any(results[-1] != results[-2])
        return results

    def stack():
        model = Stack()
        model.compile(loss=losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    both(stack, use, kinds=("predict" if method.startswith("predict") else "test",))


@pytest.mark.parametrize(
    ("setter", "value"),
    [
        (ad.config.set_floatx, "float64"),
        (ad.config.set_epsilon, 0.1),
        (ad.config.set_image_data_format, "channels_first"),
    ],
)
def test_global_settings(setter, value):
    class Asks(layers.Layer):
        def call(self, inputs):
            size = {"float32": 1.0, "float64": 2.0}[ad.tensor([1.0]).dtype]
            order = {"channels_last": 1.0, "channels_first": 2.0}[ad.config.image_data_format()]
            return inputs * (size + order + 5 * ad.config.epsilon())

    before = {"float64": "float32", 0.1: 1e-7, "channels_first": "channels_last"}[value]

    def use(model):
        results = [model.train_on_batch(X, Y)]
        try:
            setter(value)
            results += [model.train_on_batch(X, Y), model.predict(X, verbose=0)]
        finally:
            setter(before)
        return [*results, model.train_on_batch(X, Y)]

    both(lambda: classifier(Asks()), use, kinds=("train", "predict"))


def test_a_seed_that_is_set_again():
    class Noisy(layers.Layer):
        def call(self, inputs, training=False):
            return ad.random.dropout(inputs, 0.5) if training else inputs

    def use(model):
        results = []
        weights = model.get_weights()
        for seed in (1, 2, 1):
            ad.utils.set_random_seed(seed)
            model.set_weights(weights)
            model.reset_metrics()
            results.append(model.train_on_batch(X, Y))
        assert results[0] == results[2] != results[1]
        return results

    model = both(lambda: classifier(Noisy()), use, kinds=None)
    check_compiled(model, "train")


class Gan(models.Model):
    """Two models against each other, with an optimizer and a loss each."""

    def __init__(self):
        super().__init__()
        self.maker = models.Sequential([layers.Dense(4, "tanh"), layers.Dense(4)])
        self.judge = models.Sequential([layers.Dense(6, "relu"), layers.Dense(1)])
        self.loss_fn = losses.BinaryCrossentropy(from_logits=True)
        self.optimizers = {"judge": adam(), "maker": momentum()}
        self.seen = metrics.Mean(name="seen")

    def call(self, inputs):
        return self.judge(self.maker(inputs))

    def train_step(self, data):
        x, noise = data
        one, zero = ad.ops.ones((x.shape[0], 1)), ad.ops.zeros((x.shape[0], 1))
        results = {}
        for name, part in (("judge", self.judge), ("maker", self.maker)):
            with ad.GradientTape() as tape:
                made = self.judge(self.maker(noise, training=True), training=True)
                if name == "judge":
                    loss = self.loss_fn(zero, made) + self.loss_fn(one, self.judge(x))
                else:
                    loss = self.loss_fn(one, made)
            variables = part.trainable_variables
            gradients = tape.gradient(loss, variables)
            results[name] = gradients, variables, loss
        for name, (gradients, variables, _) in results.items():
            self.optimizers[name].apply_gradients(zip(gradients, variables, strict=True))
        self.seen.update_state(results["judge"][2])
        return {"judge": results["judge"][2], "maker": results["maker"][2]} | {
            "seen": self.seen.result()
        }


@pytest.mark.parametrize("clipnorm", [None, 0.05])
def test_two_optimizers_in_a_step_of_the_users_own(clipnorm):
    def use(model):
        x, noise = rows(10, 4), rows(10, 4, seed=5)
        history = model.fit(x, noise, batch_size=4, epochs=2, verbose=0).history
        model.optimizers["judge"].clipnorm = clipnorm
        model.loss_fn.reduction = "sum"
        results = [model.train_on_batch(x, noise) for _ in range(2)]
        slots = [v.numpy() for o in model.optimizers.values() for v in o.variables]
        return history, results, slots

    def make_gan():
        model = Gan()
        model(X)
        for name, part in (("judge", model.judge), ("maker", model.maker)):
            model.optimizers[name].build(part.trainable_variables)
        model.compile(optimizer=None)
        return model

    both(make_gan, use)
