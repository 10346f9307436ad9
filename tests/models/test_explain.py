"""`Model.explain_step`: what a step runs, and that looking changes nothing."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

import autodan as ad
from autodan import benchmark, layers, models
from autodan.models import explain
from autodan.models.kernel_names import FAMILIES, OTHER, meaning

RNG = np.random.default_rng(0)
X = RNG.random((24, 8, 8, 1)).astype("float32")
Y = RNG.integers(0, 3, 24)

LEVELS = tuple(
    benchmark.Level(name, capacity, 1 << 10, 1e9, 1e9, 1e9, 2e9)
    for name, capacity in (("L1", 1 << 15), ("memory", None))
)
MACHINE = benchmark.Machine("avx2", 1, 1e9, 1e9, LEVELS, 1e-7, None)


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch):
    """Nothing is measured but steps."""
    monkeypatch.setattr(explain, "_machine", lambda isa, threads, size: MACHINE)


def network(**options):
    ad.utils.set_random_seed(3)
    model = models.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3),
        ],
        name="net",
    )
    loss = ad.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], **options)
    return model


def explained(model, *arguments, **options):
    return model.explain_step(*arguments, print_fn=lambda text: None, **options)


def state(model):
    """Everything that a step could change, as bytes."""
    variables = [*model.variables, *model.optimizer.variables]
    variables += [variable for metric in model.metrics for variable in metric.variables]
    programs = model._programs
    programs.refresh()
    counters = [stream.counter for stream in programs.streams]
    return [v.numpy().tobytes() for v in variables], counters, set(programs._entries)


# What it says -----------------------------------------------------------------------------------


def test_the_step_of_the_last_fit_is_explained(capsys):
    model = network()
    model.fit(X, Y.astype("uint8"), batch_size=10, epochs=1, verbose=0)  # 10, 10 and 4 rows
    step = model.explain_step()
    out = capsys.readouterr().out
    assert out.strip() == str(step).strip()
    assert out.startswith('Training step of model "net": a program of ')
    assert step.inputs == (("float32", (10, 8, 8, 1)), ("uint8", (10,)))
    assert step.batch_size == 10 and step.kind == "train" and step.reason == ""
    names = [kernel.name for kernel in step.kernels]
    assert {"ConvPool", "BatchNorm", "Dropout", "Linear(Linear)"} <= set(names)
    assert names[-1] == "Adam"
    assert "* ConvPool" in out and "convolution + bias + activation + 2 x 2 max pooling" in out
    [row] = [line for line in out.splitlines() if line.startswith(" 1  ConvPool ")]
    assert "10x8x8x1, 3x3x1x4, 4 -> 10x3x3x4, 10x3x3x4" in row
    weights = sum(v.numpy().nbytes for v in model.variables)
    assert step.memory.weights == weights
    assert step.memory.optimizer == sum(v.numpy().nbytes for v in model.optimizer.variables)
    assert 0 < step.memory.planned <= step.memory.unshared


def test_a_batch_size_chooses_among_the_steps_that_ran():
    model = network()
    model.fit(X, Y.astype("uint8"), batch_size=10, epochs=1, verbose=0)
    assert explained(model, batch_size=4).inputs[1] == ("uint8", (4,))
    assert explained(model, batch_size=7).inputs[1] == ("int64", (7,))


@pytest.mark.parametrize("kind", ["train", "test", "predict"])
def test_without_data_the_input_shape_serves(kind):
    step = explained(network(), kind=kind)
    assert step.inputs[0] == ("float32", (32, 8, 8, 1))
    assert len(step.inputs) == (1 if kind == "predict" else 2)
    assert ("Adam" in [kernel.name for kernel in step.kernels]) == (kind == "train")


def test_data_is_taken_as_fit_takes_it():
    weights = np.ones(24, "float32")
    step = explained(network(), X, Y, weights, batch_size=6)
    assert [item[1] for item in step.inputs] == [(6, 8, 8, 1), (6,), (6,)]
    batches = iter([(X[:5], Y[:5])])
    assert explained(network(), batches).batch_size == 5
    unbuilt = models.Sequential([layers.Dense(2)])
    unbuilt.compile("sgd", "mse")
    assert explained(unbuilt, X[:, :, 0, 0], np.ones((24, 2))).kernels[-1].name == "SGD"


def test_floors_are_those_of_the_machine():
    model = models.Sequential([layers.Input((100,)), layers.Dense(50)])
    [kernel] = explained(model, kind="predict", batch_size=10).kernels
    size = 4 * (10 * 100 + 100 * 50 + 50 + 10 * 50)
    assert kernel.bytes == size and kernel.operations >= 2 * 10 * 100 * 50
    assert kernel.bound == "compute" and kernel.floor == kernel.operations / 1e9
    # With few operations for each byte, memory rules, at the fastest of its rates.
    model = models.Sequential([layers.Input((100,)), layers.Activation("tanh")])
    [kernel] = explained(model, kind="predict", batch_size=100).kernels
    assert (kernel.bound, kernel.floor) == ("memory", kernel.bytes / 2e9)


def test_profiling_gives_times():
    step = explained(network(), X, Y, profile=True, seconds=0.01)
    assert all(kernel.seconds > 0 for kernel in step.kernels)
    assert step.seconds > 0 and step.kernel_seconds > 0 and step.outside_seconds >= 0
    text = str(step)
    assert "x floor" in text and "A step as called from Python:" in text and "samples/s" in text
    short = step.text(least_share=0.02)
    assert "small kernels" in short and len(short) < len(text)


def test_json_holds_everything():
    step = explained(network(), X, Y, profile=True, seconds=0.01)
    data = json.loads(json.dumps(step.to_dict()))
    assert data["kernels"][0]["name"] == "ConvPool" and data["kernels"][0]["fused"]
    assert data["inputs"][0] == {"dtype": "float32", "shape": [24, 8, 8, 1]}
    assert data["seconds"] == step.seconds and data["memory"]["buffers"] == step.memory.buffers
    assert data["eager_because"] is None


# It changes nothing ------------------------------------------------------------------------------


def test_nothing_changes_and_training_goes_on_with_the_same_bits():
    model, other = network(), network()
    for each in (model, other):
        ad.utils.set_random_seed(5)
        each.fit(X, Y, batch_size=8, verbose=0)
    before = state(model)
    for kind in ("train", "test", "predict"):
        explained(model, X, Y, kind=kind, profile=True, seconds=0.01)
        explained(model, kind=kind)
    assert state(model) == before
    for each in (model, other):
        ad.utils.set_random_seed(7)
        each.fit(X, Y, batch_size=8, verbose=0)
    assert state(model)[0] == state(other)[0]


def test_a_callback_may_look_while_the_model_trains():
    class Look(ad.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                assert explained(self.model, profile=True, seconds=0.01).batch_size == 8

    histories = []
    for callbacks in ([Look()], []):
        model = network()
        ad.utils.set_random_seed(5)
        fitted = model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
        histories.append((fitted.history, state(model)[:2]))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_changes_when_it_is_stopped(monkeypatch, error):
    model = network()
    model.fit(X, Y, batch_size=8, verbose=0)
    before, runs = state(model), []
    original = explain.CompiledStep.__call__

    def stopped(self, inputs):
        runs.append(original(self, inputs))
        assert state(model)[0] != before[0]
        if len(runs) == 5:
            if error is KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)
            raise error

    monkeypatch.setattr(explain.CompiledStep, "__call__", stopped)
    with pytest.raises(error):
        explained(model, profile=True, seconds=0.01)
    assert len(runs) == 5 and state(model) == before


def test_many_explanations_leave_room_for_programs():
    model = network()
    for size in range(1, 12):
        assert explained(model, X, Y, batch_size=size).reason == ""
    assert not model._programs._entries


# Steps that run eagerly, and mistakes ------------------------------------------------------------


def test_an_eager_step_says_why():
    step = explained(network(run_eagerly=True), X, Y, profile=True, seconds=0.01)
    assert step.kernels == () and step.seconds > 0
    assert "runs eagerly, since compile() was told so by run_eagerly=True" in str(step)
    with pytest.raises(ValueError, match=r"no kernels to draw: it runs eagerly"):
        step.plot("eager.png")


@pytest.mark.filterwarnings("ignore:Model 'sequential")
def test_a_step_that_cannot_be_compiled_says_why():
    class Reads(layers.Layer):
        def call(self, x):
            return x * float(x.sum())

    model = models.Sequential([layers.Input((3,)), Reads(), layers.Dense(1)])
    model.compile("sgd", "mse")
    step = explained(model)
    assert step.kernels == () and "value" in step.reason
    assert json.loads(json.dumps(step.to_dict()))["eager_because"] == step.reason


def test_an_optimizer_in_python_is_named():
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    model.compile(ad.optimizers.RMSprop(clipnorm=1.0), "mse")
    before = state(model)
    step = explained(model, profile=True, seconds=0.01)
    assert state(model) == before
    assert step.after == ("RMSprop",) and "RMSprop in Python" in str(step)


def test_mistakes_are_named():
    model = models.Sequential([layers.Dense(1)])
    with pytest.raises(RuntimeError, match=r"before explain_step\(\)"):
        model.explain_step(X)
    with pytest.raises(ValueError, match=r"Pass x and, to explain training, y; or call fit"):
        model.explain_step(kind="predict")
    with pytest.raises(ValueError, match=r"`kind` must be one of .* Received: 'fit'"):
        model.explain_step(kind="fit")
    with pytest.raises(ValueError, match=r"`seconds` must be positive"):
        model.explain_step(kind="predict", seconds=0)
    with pytest.raises(ValueError, match=r"yielded no batches"):
        model.explain_step(iter([]), kind="predict")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"no targets"):
        model.explain_step(X[:, 0, 0])


# Pictures and words ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [False, True])
def test_a_picture_is_drawn(tmp_path, profile):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    path = tmp_path / "step.png"
    step = explained(network(), X, Y, profile=profile, seconds=0.01, plot=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    axes = Figure().add_subplot()
    step.plot(axes)
    texts = [text.get_text() for text in axes.texts]
    assert "1  ConvPool" in texts and ("outside of kernels" in texts) == profile
    assert axes.get_title(loc="left").startswith("Training step of “net”, 24 samples")
    with pytest.raises(ValueError, match=r"the ending must be one of"):
        explained(network(), X, Y, plot=tmp_path / "step.xyz")


LAYERS = {
    "convolution": [layers.Conv2D(2, 3, activation="relu"), layers.MaxPooling2D()],
    "tanh": [layers.Conv2D(2, 3, activation="tanh", padding="same"), layers.AveragePooling2D()],
    "linear": [layers.Conv2D(2, 3, strides=2), layers.MaxPooling2D(), layers.ReLU()],
    "depth": [layers.Conv2D(2, 3), layers.Conv2D(3, 3, activation="sigmoid")],
    "normalized": [layers.Conv2D(2, 3, use_bias=False), layers.BatchNormalization()],
    "dropped": [layers.Flatten(), layers.Dense(5, activation="gelu"), layers.Dropout(0.2)],
    "dense": [layers.Flatten(), layers.Dense(5, activation="tanh"), layers.Activation("softmax")],
    "penalized": [layers.Dense(4, kernel_regularizer="l2"), layers.Activation("relu")],
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", LAYERS)
def test_each_kernel_of_the_layers_has_a_description(name, optimizer):
    parts = [layer.from_config(layer.get_config()) for layer in LAYERS[name]]
    stack = [layers.Input((8, 8, 1)), *parts, layers.Flatten(), layers.Dense(3)]
    for end, loss in (("softmax", "categorical_crossentropy"), (None, "mse")):
        model = models.Sequential([*stack[:-1], layers.Dense(3, activation=end)])
        model.compile(optimizer, loss, metrics=["accuracy", "mae"])
        for kind in ("train", "test", "predict"):
            for kernel in explained(model, kind=kind, batch_size=4).kernels:
                assert kernel.meaning.parts, f"kernel_names.py says nothing of {kernel.name}"
                assert kernel.meaning.family in FAMILIES


def test_an_unknown_kernel_keeps_its_name():
    assert meaning("Wonder(3)").title == "Wonder(3)"
    assert meaning("Wonder(3)").family == OTHER and not meaning("Wonder(3)").parts
