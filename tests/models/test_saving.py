"""A model that was saved and loaded is the same: config, bits, and how it goes on learning."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from saved_models import (
    LABELS,
    Noisy,
    Subclassed,
    X,
    again,
    assert_same,
    assert_same_training,
    network,
)

import autodan as ad
from autodan import layers, losses, metrics, models, optimizers, saving
from autodan.errors import FormatError


def public(namespace, base, but=()):
    values = [getattr(namespace, name) for name in namespace.__all__]
    classes = {v for v in values if isinstance(v, type) and issubclass(v, base)}
    return {c.__name__ for c in classes} - {base.__name__, *but}


CHANNELS_FIRST = {"data_format": "channels_first"}
LAYERS = [
    [layers.Activation(a) for a in ("tanh", ad.ops.abs, layers.ReLU())],
    [layers.AveragePooling2D(2, 1, "same"), layers.MaxPooling2D((2, 1), **CHANNELS_FIRST)],
    [layers.BatchNormalization(1, 0.5, 0.01, center=False), layers.BatchNormalization(scale=False)],
    [layers.Conv2D(4, (2, 3), groups=2, kernel_regularizer=ad.regularizers.L1L2(0.1, 0.2))],
    [layers.Conv2D(2, 3, padding="same", dilation_rate=2, use_bias=False, **CHANNELS_FIRST)],
    [layers.Flatten(), layers.Dense(3, bias_initializer="ones", bias_regularizer="l2")],
    [layers.Dense(3, activity_regularizer="l1", activation=layers.LeakyReLU(0.1), autocast=False)],
    [layers.Dropout(0.4, noise_shape=(None, 1, 1, 2)), layers.Dropout(0.1, seed=5)],
    [layers.ReLU(3.0, 0.1, 0.2), layers.LeakyReLU(0.2), layers.Softmax(axis=(1, 2))],
    [models.Sequential([layers.Dense(2), models.Sequential([layers.Dense(1, dtype="float64")])])],
    [layers.InputLayer(batch_shape=(None, 6, 6, 2)), layers.Dense(2)],
]


def test_every_layer_has_a_case():
    found = {type(layer).__name__ for case in LAYERS for layer in case}
    assert public(layers, layers.Layer) <= found


@pytest.mark.parametrize("build", ["input", "call", "shape", "not"])
@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_every_layer_comes_back(tmp_path, case, build):
    entries = [type(layer).from_config(layer.get_config()) for layer in LAYERS[case]]
    if build == "input" and not isinstance(entries[0], layers.InputLayer):
        entries.insert(0, ad.Input((6, 6, 2)))
    if build == "shape" and not isinstance(entries[0], layers.InputLayer):
        config = {**entries[0].get_config(), "input_shape": (6, 6, 2)}
        if not isinstance(entries[0], models.Sequential):
            entries[0] = type(entries[0]).from_config(config)
    model = ad.Sequential(entries)
    if build == "call":
        model(X)
    for variable in model.variables:  # no initial values
        variable.assign(np.random.default_rng(0).random(variable.shape))
    loaded = again(model, tmp_path)
    assert_same(model, loaded)
    assert loaded.built == model.built
    if model.built:
        assert loaded.predict(X, verbose=0).tobytes() == model.predict(X, verbose=0).tobytes()


SGD, Adam, RMSprop = optimizers.SGD, optimizers.Adam, optimizers.RMSprop
SCHEDULES = [
    optimizers.schedules.CosineDecay(0.05, 9, warmup_target=0.1, warmup_steps=3),
    optimizers.schedules.ExponentialDecay(0.05, 2, 0.8, staircase=True),
    optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.01]),
]
OPTIMIZERS = [
    SGD(SCHEDULES[0], momentum=0.9, nesterov=True, weight_decay=0.01),
    SGD(0.05, clipvalue=0.1),
    Adam(SCHEDULES[1], amsgrad=True, clipnorm=0.5),
    Adam(0.003, beta_1=0.8, epsilon=1e-5, weight_decay=0.02),
    RMSprop(SCHEDULES[2], centered=True, momentum=0.4, global_clipnorm=0.7),
    RMSprop(0.003),
]


def test_every_optimizer_and_schedule_has_a_case():
    assert public(optimizers, optimizers.Optimizer) == {type(o).__name__ for o in OPTIMIZERS}
    base = optimizers.schedules.LearningRateSchedule
    found = {
        name
        for name, value in vars(optimizers.schedules).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    assert found == {type(s).__name__ for s in SCHEDULES}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_with_the_same_bits(tmp_path, optimizer):
    fit = {"batch_size": 8, "verbose": 0, "validation_split": 0.2, "class_weight": {1: 2.0}}
    ad.utils.set_random_seed(7)
    whole = network(optimizer)
    history = whole.fit(X, LABELS, epochs=3, **fit)

    ad.utils.set_random_seed(7)
    first = network(optimizer)
    start = first.fit(X, LABELS, epochs=1, **fit)
    before = ad.random.draw_key()
    second = again(first, tmp_path, custom_objects={"Noisy": Noisy})
    assert ad.random.draw_key() == (before[0], before[1] + 1)  # loading drew nothing
    assert_same_training(first, second)
    rest = second.fit(X, LABELS, initial_epoch=second.epochs_trained, epochs=3, **fit)
    assert_same_training(whole, second)
    assert rest.epoch == [1, 2]
    for name, values in history.history.items():
        assert start.history[name] + rest.history[name] == values


PROGRAM = """
import sys, numpy as np, autodan as ad
x = np.random.default_rng(1).random((40, 5), dtype="float32")
y = x[:, :1] * 2
path, part = sys.argv[1:]
if part == "second":
    ad.random.set_seed(99)
    model = ad.models.load_model(path)
else:
    ad.utils.set_random_seed(7)
    model = ad.Sequential([ad.layers.Dense(8, "relu"), ad.layers.Dropout(0.5), ad.layers.Dense(1)])
    model.compile("adam", "mse")
epochs = {"first": 2, "second": 4, "whole": 4}[part]
model.fit(x, y, batch_size=8, epochs=epochs, initial_epoch=model.epochs_trained, verbose=0)
model.save(path)
"""


def test_training_goes_on_in_another_process(tmp_path):
    def run(path, part):
        subprocess.run([sys.executable, "-c", PROGRAM, str(path), part], check=True)

    run(tmp_path / "parts", "first")
    run(tmp_path / "parts", "second")
    run(tmp_path / "whole", "whole")
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_saving_neither_changes_the_model_nor_depends_on_anything_else(tmp_path):
    model = network(OPTIMIZERS[0])
    model.fit(X, LABELS, verbose=0)
    one, other = tmp_path / "one.h5", tmp_path / "other"
    before = ad.random.draw_key()
    model.save(one)
    model.save(str(other))
    assert one.read_bytes() == other.read_bytes()
    assert ad.random.draw_key()[1] == before[1] + 1


def arguments(base, names):
    """Every public class of a namespace, with arguments that are not the defaults."""
    special = {
        "SparseCategoricalCrossentropy": {"axis": 1},
        "CategoricalCrossentropy": {"label_smoothing": 0.1},
        "BinaryCrossentropy": {"label_smoothing": 0.1},
        "Huber": {"delta": 0.5},
        "BinaryAccuracy": {"threshold": 0.3},
        "TopKCategoricalAccuracy": {"k": 2},
        "SparseTopKCategoricalAccuracy": {"k": 2},
        "LossFunctionWrapper": {"fn": losses.huber, "delta": 0.3},
        "MeanMetricWrapper": {"fn": metrics.top_k_categorical_accuracy, "k": 2},
    }
    return [getattr(base, name)(name="mine", **special.get(name, {})) for name in sorted(names)]


@pytest.mark.parametrize("loss", arguments(losses, public(losses, losses.Loss)), ids=repr)
def test_every_loss_comes_back(tmp_path, loss):
    loss.reduction = "sum"
    model = network(OPTIMIZERS[1], loss, noise=False, metrics=(), loss_weights=[0.25])
    loaded = again(model, tmp_path)
    assert type(loaded.loss) is type(loss)
    assert loaded.loss.get_config() == loss.get_config()
    y = LABELS if loss.integer_targets else np.eye(3, dtype="float32")[LABELS]
    results = [m.evaluate(X, y, verbose=0) for m in (model, loaded)]
    assert results[0] == results[1]


@pytest.mark.parametrize("metric", arguments(metrics, public(metrics, metrics.Metric)), ids=repr)
def test_every_metric_comes_back(tmp_path, metric):
    model = network(OPTIMIZERS[1], noise=False)
    model.compile("sgd", "mse", metrics=[metric, "acc"], weighted_metrics=["mse", losses.huber])
    compiled = again(model, tmp_path).get_compile_config()
    assert compiled == json.loads(json.dumps(model.get_compile_config()))
    assert [m["config"]["name"] for m in compiled["weighted_metrics"]] == ["mse", "huber"]


NAMES = {
    name: value
    for namespace, base in (
        (ad.initializers, ad.initializers.Initializer),
        (ad.regularizers, ad.regularizers.Regularizer),
    )
    for name, value in vars(namespace).items()
    if isinstance(value, type) and issubclass(value, base) and value is not base
}
PRIVATE = {"RandomInitializer", "_NamedScaling"}


@pytest.mark.parametrize("name", sorted({c.__name__ for c in NAMES.values()} - PRIVATE))
def test_every_initializer_and_regularizer_comes_back(tmp_path, name):
    made = NAMES[name]()
    key = "kernel_initializer" if name in dir(ad.initializers) else "kernel_regularizer"
    model = ad.Sequential([ad.Input((4,)), layers.Dense(4, **{key: made})])
    loaded = again(model, tmp_path)
    assert_same(model, loaded)
    assert type(getattr(loaded.layers[0], key)) is type(made)


@pytest.mark.parametrize("value", [2.5, np.float32(0.1), np.ones((1, 2)), ad.ones((2,))])
def test_constants_may_be_arrays(tmp_path, value):
    initializer = ad.initializers.Constant(value)
    model = ad.Sequential([layers.Dense(2, kernel_initializer=initializer)])
    loaded = again(model, tmp_path)
    expected = model(np.ones((1, 2), "float32"))
    assert loaded(np.ones((1, 2), "float32")).tolist() == expected.tolist()


@pytest.mark.parametrize("name", sorted(ad.activations._TABLE))
def test_every_activation_comes_back(tmp_path, name):
    model = ad.Sequential([layers.Activation(name)])
    assert again(model, tmp_path).layers[0].activation is ad.activations.get(name)


# Weights alone ------------------------------------------------------------------------------------


def test_weights_of_a_subclassed_model(tmp_path):
    first, second = Subclassed(), Subclassed()
    x = np.ones((2, 3), "float32")
    assert first.predict(x, verbose=0).tolist() != second.predict(x, verbose=0).tolist()
    first.save_weights(tmp_path / "w")
    second.load_weights(tmp_path / "w")
    assert first.predict(x, verbose=0).tolist() == second.predict(x, verbose=0).tolist()
    with pytest.raises(FormatError, match=r"weights alone.*load_weights"):
        models.load_model(tmp_path / "w")
    with pytest.raises(ValueError, match="no weights to save yet"):
        Subclassed().save_weights(tmp_path / "x")
    with pytest.raises(ValueError, match="Build the model first"):
        Subclassed().load_weights(tmp_path / "w")


def two(units=2, dtype=None):
    entries = [ad.Input((3,)), layers.Dense(units, dtype=dtype), layers.Dense(2)]
    return ad.Sequential(entries)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            two(5),
            r"layers/0/kernel is float32\[3, 2\] in the file and float32\[3, 5\] in the model",
        ),
        (two(dtype="float64"), r"is float32\[3, 2\] in the file and float64\[3, 2\]"),
        (ad.Sequential([ad.Input((3,)), layers.Dense(2)]), "the model lacks model/layers/1/bias"),
        (
            ad.Sequential([ad.Input((3,)), *two().layers, layers.Dense(1)]),
            "lacks model/layers/2/kernel",
        ),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, other, says):
    two().save_weights(tmp_path / "w")
    before = [w.copy() for w in other.get_weights()]
    with pytest.raises(ValueError, match=says):
        other.load_weights(tmp_path / "w")
    for one, two_ in zip(before, other.get_weights(), strict=True):
        assert (one == two_).all()


def test_skip_mismatch_loads_what_fits(tmp_path):
    source, target = two(), two(5)
    source.layers[1].bias.assign([7.0, 8.0])
    source.save(tmp_path / "m")
    with pytest.warns(UserWarning, match="some weights are not loaded: model/layers/0/kernel is"):
        target.load_weights(tmp_path / "m", skip_mismatch=True)
    assert target.layers[1].bias.tolist() == [7.0, 8.0]


# Small print --------------------------------------------------------------------------------------


def test_another_reader_reads_the_files(tmp_path):
    model = network(OPTIMIZERS[2])
    model.fit(X, LABELS, verbose=0)
    transposed = ad.transpose(ad.asarray(np.arange(108.0).reshape(18, 6), dtype="float32"))
    layer = ad.Sequential([ad.Input((6,)), layers.Dense(18), layers.Dense(0 + 1, dtype="float64")])
    layer.layers[0].kernel.assign(transposed)  # a view
    layer.save(tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    assert (stored["model/layers/0/kernel"] == transposed.numpy()).all()
    assert stored["model/layers/1/kernel"].dtype == "float64"
    with safe_open(tmp_path / "m.safetensors", "np") as file:
        document = json.loads(file.metadata()["model"])
    assert document["model"] == json.loads(layer.to_json())
    model.save(tmp_path / "m")
    assert int(load_file(tmp_path / "m")["optimizer/0"]) == 2


def test_a_model_larger_than_a_piece(tmp_path):
    model = ad.Sequential([ad.Input((1000,)), layers.Dense(700)])
    assert_same(model, again(model, tmp_path))


def test_parts_can_be_left_out(tmp_path):
    model = network(OPTIMIZERS[0], noise=False)
    model.fit(X, LABELS, verbose=0)
    assert not again(model, tmp_path, compile=False).compiled
    model.save(tmp_path / "m", include_optimizer=False)
    loaded = models.load_model(tmp_path / "m")
    assert (int(loaded.optimizer.iterations), loaded.compiled) == (0, True)
    loaded.fit(X, LABELS, verbose=0)


def test_what_is_trained_comes_back(tmp_path):
    model = network(OPTIMIZERS[0], noise=False)
    model.fit(X, LABELS, verbose=0)
    model.layers[0].kernel.trainable = False  # after compile: the optimizer knows it
    loaded = again(model, tmp_path)
    assert_same(model, loaded)
    model.trainable = False
    model.layers[-1].trainable = True
    loaded = again(model, tmp_path)
    assert_same(model, loaded)
    assert [layer.trainable for layer in loaded.layers] == [False] * 4 + [True]


def test_exemptions_from_weight_decay_come_back(tmp_path):
    model = two()
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    loaded = again(model, tmp_path)
    for each in (model, loaded):
        each.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    assert_same_training(model, loaded)


def test_the_float_type_at_saving_counts(tmp_path):
    ad.config.set_floatx("float64")
    try:
        model = two()
        model.compile("adam", "mse")
        model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
        model.save(tmp_path / "m")
    finally:
        ad.config.set_floatx("float32")
    assert_same_training(model, models.load_model(tmp_path / "m"))
    assert ad.config.floatx() == "float32"


def test_shuffling_starts_anew_after_a_new_seed():
    def orders(model):
        seen = []
        keep = ad.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(logs["loss"]))
        model.fit(np.arange(40.0)[:, None], np.ones((40, 1)), 4, 2, 0, callbacks=[keep])
        return seen

    def make():
        model = ad.Sequential([ad.Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile(SGD(1e-5), "mse")
        return model

    ad.utils.set_random_seed(3)
    model = make()
    first, weights = orders(model), model.get_weights()
    assert orders(model) != first
    ad.utils.set_random_seed(3)
    model.set_weights(make().get_weights())
    ad.utils.set_random_seed(3)
    make()  # draws as the first model did
    assert orders(model) == first
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))


def test_json_and_clones():
    model = network(OPTIMIZERS[0], noise=False)
    for copy in (models.model_from_json(model.to_json()), models.clone_model(model)):
        assert copy.to_json() == model.to_json()
        assert copy.count_params() == model.count_params()
        assert copy.get_weights()[0].tolist() != model.get_weights()[0].tolist()
    for text in ("", "[]", "{}", '{"class_name":"Dense","config":{"units":1}}', "[" * 100_000):
        with pytest.raises((FormatError, TypeError), match=r".+"):
            models.model_from_json(text)


def test_namespaces():
    assert saving.load_model is models.load_model
    assert ad.keras.saving.save_model is models.save_model
    assert ad.utils.register_keras_serializable is saving.register_keras_serializable
    with pytest.raises(ValueError, match="needs a method get_config"):
        saving.register_keras_serializable()(type("Bare", (), {}))
    with pytest.raises(ValueError, match="registered already"):
        saving.register_keras_serializable("tests", "Scaled")(Noisy)
    with pytest.raises(TypeError, match="Expected a model"):
        models.save_model(layers.Dense(1), "x")


def test_layers_refuse_names_that_are_none():
    for name in (5, ["a"], "a/b"):
        with pytest.raises(ValueError, match="`name` must be a string without '/'"):
            layers.Dense(1, name=name)


def test_the_document_has_not_changed_without_notice():
    """What the format promises to other programs; see docs/files.md."""
    text = Path(__file__).parents[2].joinpath("docs", "files.md").read_text()
    from autodan.models import state

    described = set(state.describe(two()))
    assert all(f"`{key}`" in text for key in described), described
    assert textwrap.dedent(text)
