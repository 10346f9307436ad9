"""What is refused before the first step, and that the model is then as it was."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import callbacks, layers, models, optimizers

RNG = np.random.default_rng(8)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def make(built=True, **arguments):
    ad.utils.set_random_seed(2)
    start = [layers.Input((4,))] if built else []
    model = models.Sequential(
        [
            *start,
            layers.Dense(5, "relu"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, "softmax", name="out"),
        ],
        name="m",
    )
    settings = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy"}
    model.compile(**{**settings, "metrics": ["accuracy"], **arguments})
    return model


def with_value(array, index, value):
    array = array.astype("float64")
    array[index] = value
    return array


REFUSED = {
    "nan in x": (
        lambda: (with_value(X, (5, 2), np.nan), Y),
        r"`x` contains nan at index \(5, 2\).*np\.nan_to_num\(x\)",
    ),
    "inf in x": (
        lambda: (with_value(X, (0, 0), -np.inf), Y),
        r"`x` contains -inf at index \(0, 0\)",
    ),
    "label too large": (
        lambda: (X, with_value(Y, 6, 3).astype("int64")),
        r"`y` contains label 3 at index 6, but the model has 3 outputs, for labels 0 to 2\. "
        r"Give the last layer 4 units, or renumber the labels from 0\.",
    ),
    "label too small": (
        lambda: (X, with_value(Y, 1, -1).astype("int32")),
        r"`y` contains label -1 at index 1, but .* Renumber the labels from 0\.",
    ),
    "label in a column": (
        lambda: (X, with_value(Y, 7, 9).astype("uint8")[:, None]),
        r"`y` contains label 9 at index 7, .*10 units",
    ),
    "label not whole": (
        lambda: (X, with_value(Y, 2, 0.5)),
        r"`y` contains label 0\.5 at index 2.*Labels must be whole numbers",
    ),
    "label nan": (lambda: (X, with_value(Y, 3, np.nan)), r"`y` contains nan at index \(3,\)"),
    "lengths": (
        lambda: (X, Y[:7]),
        r"the same number of samples, but `x` has 8 \(shape \(8, 4\)\), `y` has 7 \(shape \(7,\)\)",
    ),
    "one-hot for sparse": (
        lambda: (X, np.eye(3)[Y]),
        r"y_true has shape \(8, 3\) and y_pred has shape \(8, 3\).*look one-hot.*"
        r"'categorical_crossentropy'",
    ),
    "features": (
        lambda: (X[:, :3], Y),
        r"Model 'm' expects inputs of shape \(None, 4\) but received shape \(8, 3\)",
    ),
    "strings": (lambda: (np.array([["a"] * 4] * 8), Y), "`x` has dtype <U1; expected numbers"),
    "ragged": (lambda: ([[1.0], [1.0, 2.0]], Y[:2]), "`x` cannot be made an array"),
    "empty": (lambda: (X[:0], Y[:0]), "fit: `x` is empty"),
    "no targets": (lambda: (X, None), r"Model 'm' was compiled with a loss.*no targets"),
    "nothing": (lambda: (None, None), "`x` is None"),
    "a number": (lambda: (np.float32(3.0), Y), "`x` is a single number"),
}


def state(model):
    return [v.numpy().copy() for v in [*model.variables, *model.optimizer.variables]]


def check_same(before, after):
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("trained_before", [False, True])
@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_data_changes_nothing(case, trained_before):
    data, message = REFUSED[case]

    def train(model):
        return model.fit(X, Y, batch_size=3, epochs=2, shuffle=False, verbose=0).history

    model, untroubled = make(), make()
    if trained_before:
        train(model)
        train(untroubled)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        model.fit(*data(), verbose=0)
    check_same(before, state(model))
    assert train(model) == train(untroubled)
    check_same(state(untroubled), state(model))


def test_bad_data_leaves_an_unbuilt_model_unbuilt():
    model = make(built=False)
    for case in ("label too large", "one-hot for sparse", "nan in x"):
        data, message = REFUSED[case]
        with pytest.raises(ValueError, match=message):
            model.fit(*data(), verbose=0)
        assert (model.built, model.weights) == (False, [])
    wide = np.zeros((6, 9))
    assert model.fit(wide, Y[:6], verbose=0).epoch == [0]
    assert model.input_shape == (None, 9)


def test_bad_validation_data_is_refused_before_training():
    model = make()
    before = state(model)
    for data, message in [
        ((with_value(X, (1, 1), np.nan), Y), r"`validation x` contains nan at index \(1, 1\)"),
        ((X, Y + 5), r"`validation y` contains label 5 at index 0"),
        ((X, Y[:3]), "the same number of samples"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, validation_data=data, verbose=0)
        check_same(before, state(model))


def test_the_metric_does_not_keep_a_form_that_did_not_fit():
    model = make(loss=lambda y_true, y_pred: ad.ops.mean(y_pred, axis=-1))
    with pytest.raises(
        ValueError, match=r"y_true has shape \(8, 5\) and y_pred has shape \(8, 3\)"
    ):
        model.fit(X, np.eye(5)[Y], verbose=0)
    model.fit(X, Y, verbose=0)
    assert [type(m).__name__ for m in model.metrics[1].metrics] == ["SparseCategoricalAccuracy"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, r"`batch_size` must be a positive integer\. Received: 0"),
        ({"steps_per_epoch": 0}, ValueError, "steps per epoch must be positive"),
        ({"class_weight": {0: 1.0}, "sample_weight": np.ones(8)}, ValueError, "not both"),
        ({"sample_weight": np.ones(7)}, ValueError, "`sample_weight` has 7"),
        ({"sample_weight": np.ones((8, 5))}, ValueError, "sample_weight has shape"),
        ({"callbacks": [3]}, TypeError, "callback"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, kind, message):
    model = make()
    before = state(model)
    with pytest.raises(kind, match=message):
        model.fit(X, Y, verbose=0, **arguments)
    check_same(before, state(model))
    model.fit(X, Y, verbose=0)


def test_batches_beside_arrays():
    batches = ((X, Y) for _ in range(3))
    for argument in ({"y": Y}, {"batch_size": 4}, {"sample_weight": np.ones(8)}):
        with pytest.raises(ValueError, match=f"`{next(iter(argument))}` cannot be given when `x`"):
            make().fit(batches, verbose=0, **argument)
    with pytest.raises(ValueError, match="validation_split needs arrays"):
        make().fit(batches, validation_split=0.5, verbose=0)
    with pytest.raises(TypeError, match="`x` of type int is no data"):
        make().fit(5, verbose=0)


def test_training_needs_compile():
    model = models.Sequential([layers.Dense(1)], name="m")
    for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        with pytest.raises(RuntimeError, match=rf"'m' must be compiled before {method}\(\)"):
            getattr(model, method)(X, Y)
    assert model.predict(X, verbose=0).shape == (8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adm"}, r"Unknown optimizer 'adm'\. Did you mean 'adam'"),
        ({"loss": "sparse_crossentropy"}, r"Unknown loss 'sparse_crossentropy'\. Did you mean '"),
        ({"loss": "msee"}, r"Unknown loss 'msee'\. Did you mean 'mse'"),
        ({"metrics": ["acuracy"]}, r"Unknown metric 'acuracy'\. Did you mean 'accuracy'"),
        ({"loss": ["mse", "mae"]}, "holds 2 losses, but the model has one output"),
        ({"loss_weights": [1.0, 2.0]}, "holds 2 weights"),
    ],
    ids=str,
)
def test_misspelt_names_are_refused_by_compile(arguments, message):
    model = make()
    optimizer = model.optimizer
    with pytest.raises(ValueError, match=message):
        model.compile(**arguments)
    assert model.optimizer is optimizer  # the old settings stand
    model.fit(X, Y, verbose=0)


def test_metrics_must_be_in_a_list():
    with pytest.raises(TypeError, match=r"`metrics` must be a list\. Received: 'accuracy'\. Write"):
        make(metrics="accuracy")


@pytest.mark.parametrize(
    ("make_layer", "message"),
    [
        (
            lambda: layers.Dense(2, "sofmax"),
            r"Unknown activation 'sofmax'\. Did you mean 'softmax'",
        ),
        (
            lambda: layers.Dense(2, kernel_initializer="he_norml"),
            r"Unknown initializer 'he_norml'\. Did you mean 'he_normal'",
        ),
        (
            lambda: layers.Conv2D(2, 3, kernel_regularizer="l3"),
            r"Unknown regularizer 'l3'\. Did you mean '[lL][12]'",
        ),
    ],
)
def test_misspelt_names_in_layers(make_layer, message):
    with pytest.raises(ValueError, match=message):
        make_layer()


# -- failures once training has begun ------------------------------------------------------------


def test_training_goes_on_after_an_interruption():
    class Interrupt(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    model, untroubled = make(), make()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=2, shuffle=False, callbacks=[Interrupt()], verbose=0)
    untroubled.fit(X[:4], Y[:4], batch_size=2, shuffle=False, verbose=0)
    check_same(state(untroubled), state(model))
    history = model.fit(X, Y, batch_size=2, shuffle=False, verbose=0).history
    assert history == untroubled.fit(X, Y, batch_size=2, shuffle=False, verbose=0).history
    check_same(state(untroubled), state(model))
    assert ad._core.is_grad_enabled()


def test_a_bad_batch_of_a_stream_is_refused():
    def batches():
        yield X, Y
        yield with_value(X, (2, 0), np.nan), Y

    model, untroubled = make(), make()
    with pytest.raises(ValueError, match=r"`x` contains nan at index \(2, 0\)"):
        model.fit(batches(), verbose=0)
    untroubled.fit(X, Y, shuffle=False, verbose=0)
    check_same(state(untroubled), state(model))


def test_a_label_out_of_range_in_a_stream():
    model = make()
    before = state(model)
    with pytest.raises(ValueError, match="label"):
        model.fit(iter([(X, Y + 1)]), verbose=0)
    check_same(before, state(model))
    with pytest.raises(ValueError, match="label"):
        model.train_on_batch(X, Y + 1)
    check_same(before, state(model))


def test_evaluation_survives_a_bad_batch():
    model = make()
    expected = model.evaluate(X, Y, verbose=0)
    with pytest.raises(ValueError, match="label"):
        model.evaluate(X, Y + 1, verbose=0)
    assert ad._core.is_grad_enabled()
    assert model.evaluate(X, Y, verbose=0) == expected


def test_a_layer_frozen_after_compile_is_frozen_at_the_next_fit():
    model = make()
    model.get_layer("out").trainable = False
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    check_same(before[-2:], model.get_weights()[-2:])


def test_an_optimizer_of_another_model():
    optimizer = optimizers.SGD(0.1)
    make(optimizer=optimizer)
    with pytest.raises(ValueError, match="optimizer"):
        make(optimizer=optimizer).fit(X, Y, verbose=0)
