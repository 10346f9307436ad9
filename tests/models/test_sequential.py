"""Sequential: lists, add and pop, deferred building, configuration, messages."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import layers, models

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def test_a_list_of_layers():
    first, second = layers.Dense(3, "relu"), layers.Dense(2)
    model = models.Sequential([layers.Input((4,)), first, second])
    assert model.layers == [first, second]
    assert (model.input_shape, model.output_shape) == ((None, 4), (None, 2))
    assert model.count_params() == 15 + 8
    np.testing.assert_array_equal(model(X).numpy(), second(first(X)).numpy())


@pytest.mark.parametrize("start", ["Input", "InputLayer", "input_shape", "nothing"])
def test_ways_to_say_the_input_shape(start):
    model = models.Sequential()
    if start == "Input":
        model.add(layers.Input(shape=(4,)))
    elif start == "InputLayer":
        model.add(layers.InputLayer(shape=(4,)))
    arguments = {"input_shape": (4,)} if start == "input_shape" else {}
    model.add(layers.Dense(3, **arguments))
    model.add(layers.Dense(2))
    known = start != "nothing"
    assert model.built is known
    assert len(model.weights) == (4 if known else 0)
    assert model(X).shape == (5, 2)
    assert (model.built, len(model.weights), model.count_params()) == (True, 4, 23)
    assert model.output_shape == (None, 2)


def test_building_by_hand():
    model = models.Sequential([layers.Dense(3), layers.Dense(2)])
    with pytest.raises(AttributeError, match="does not know its input shape yet"):
        model.build()
    model.build((None, 4))
    assert (model.built, model.output_shape, len(model.weights)) == (True, (None, 2), 4)
    wrong = models.Sequential([layers.Dense(3), layers.Conv2D(2, 3, name="c")])
    with pytest.raises(ValueError, match=r"'c' \(Conv2D\) cannot take"):
        wrong.build((None, 4))
    assert (wrong.built, wrong.layers[0].built, wrong.weights) == (False, False, [])


def test_add_and_pop():
    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)])
    last = model.layers[1]
    assert model.pop() is last
    assert (model.output_shape, len(model.weights)) == ((None, 3), 2)
    model.add(layers.Dense(7))
    assert (model.output_shape, model(X).shape) == ((None, 7), (5, 7))
    model.pop()
    model.pop()
    assert (model.layers, model.built, model.input_shape) == ([], False, (None, 4))
    with pytest.raises(ValueError, match="has no layers to remove"):
        model.pop()


def test_a_shape_of_the_first_layer_goes_with_it():
    model = models.Sequential([layers.Dense(3, input_shape=(4,))])
    model.pop()
    model.add(layers.Dense(2, input_shape=(6,)))
    assert model.input_shape == (None, 6)


def test_a_layer_that_does_not_fit_leaves_the_model_as_it_was():
    model = models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3)])
    wrong = layers.MaxPooling2D(9, name="pool")
    with pytest.raises(ValueError, match=r"'pool' \(MaxPooling2D\).*\(9, 9\).*\(None, 6, 6, 2\)"):
        model.add(wrong)
    assert (len(model.layers), model.output_shape, wrong.built) == (1, (None, 6, 6, 2), False)
    model.add(layers.Flatten())
    assert model.output_shape == (None, 72)


def test_models_inside_models():
    inner = models.Sequential([layers.Dense(3), layers.Dense(2)], name="inner")
    model = models.Sequential([layers.Input((4,)), inner, layers.Dense(1)])
    assert (model.output_shape, model.count_params()) == ((None, 1), 15 + 8 + 3)
    assert model(X).shape == (5, 1)
    inner.trainable = False
    assert len(model.trainable_variables) == 2


def test_get_layer():
    model = models.Sequential([layers.Dense(3, name="first"), layers.Dense(2, name="second")])
    assert model.get_layer("second") is model.get_layer(index=1) is model.layers[1]
    with pytest.raises(ValueError, match=r"Unknown layer 'secnd'\. Did you mean 'second'"):
        model.get_layer("secnd")
    with pytest.raises(ValueError, match="has 2 layers, none at 5"):
        model.get_layer(index=5)
    with pytest.raises(ValueError, match="either `name` or `index`"):
        model.get_layer()


def test_weights_travel_between_models():
    def make():
        return models.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)])

    model, other = make(), make()
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(X).numpy(), other(X).numpy())


def test_config_round_trip():
    model = models.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            models.Sequential([layers.Dense(3)], name="inner"),
        ],
        name="outer",
    )
    again = models.Sequential.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: models.Sequential(layers.Dense(2)), TypeError, "list of layers. Received: Dense"),
        (lambda: models.Sequential([layers.Dense]), TypeError, "Add parentheses to create"),
        (lambda: models.Sequential(["dense"]), TypeError, "expected a layer. Received: 'dense'"),
        (
            lambda: models.Sequential([layers.Dense(2, name="d"), layers.Dense(2, name="d")]),
            ValueError,
            "already has a layer named 'd'",
        ),
        (
            lambda: models.Sequential([layers.Dense(2), layers.Input((3,))]),
            ValueError,
            "an Input can only be the first",
        ),
        (
            lambda: models.Sequential([layers.Input((4, 4)), layers.Conv2D(1, 1, name="c")]),
            ValueError,
            r"'c' \(Conv2D\) cannot take an input of shape \(None, 4, 4\): expected 4 dim",
        ),
    ],
)
def test_what_cannot_be_a_model(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


# -- inputs --------------------------------------------------------------------------------------


def test_images_with_and_without_their_channel():
    model = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten()])
    x = np.random.default_rng(1).normal(size=(3, 6, 6)).astype("float32")
    np.testing.assert_array_equal(model(x).numpy(), model(x[..., None]).numpy())
    plain = models.Sequential([layers.Input((6, 6)), layers.Flatten(), layers.Dense(2)])
    np.testing.assert_array_equal(plain(x).numpy(), plain(x[..., None]).numpy())


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((5, 784), r"Reshape the data: x\.reshape\(\(-1, 28, 28, 1\)\)"),
        ((28, 28, 1), r"Add the batch axis: x\[None\]"),
        ((5, 32, 32, 3), r"Give it samples of shape \(28, 28, 1\), or build the model for"),
    ],
    ids=str,
)
def test_wrong_inputs_name_both_shapes_and_the_fix(shape, fix):
    model = models.Sequential([layers.Input((28, 28, 1)), layers.Flatten()], name="m")
    expected = r"Model 'm' expects inputs of shape \(None, 28, 28, 1\) but received shape \("
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=expected + r".*\)\. " + fix):
            call(np.zeros(shape, "float32"))


def test_a_failed_first_call_leaves_the_model_unbuilt():
    model = models.Sequential([layers.Dense(3), layers.Conv2D(2, 3, name="c")])
    with pytest.raises(ValueError, match=r"'c' \(Conv2D\) cannot take"):
        model(X)
    assert (model.built, model.layers[0].built, model.weights) == (False, False, [])
    model.pop()
    assert model(X).shape == (5, 3)


def test_several_inputs_are_refused():
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="takes one input of shape"):
        model([X, X])


def test_a_nested_list_is_an_array():
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    np.testing.assert_array_equal(model(X.tolist()).numpy(), model(X).numpy())


# -- subclasses of Model -------------------------------------------------------------------------


class Classifier(models.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(8, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.out = layers.Dense(2)

    def call(self, inputs, training=None):
        return self.out(self.drop(self.hidden(inputs), training=training))


def test_a_subclass_builds_at_its_first_call():
    model = Classifier()
    assert (model.built, model.weights) == (False, [])
    assert model(X).shape == (5, 2)
    assert model.layers == [model.hidden, model.drop, model.out]
    assert model.count_params() == 40 + 18
    np.testing.assert_array_equal(model(X).numpy(), model(X, training=False).numpy())
    assert (model(X, training=True).numpy() != model(X).numpy()).any()


def test_a_subclass_builds_by_hand():
    model = Classifier()
    with pytest.raises(ValueError, match="build needs an input shape with the batch axis"):
        model.build()
    model.build((None, 4))
    assert len(model.weights) == 4
    with pytest.raises(ValueError, match=r"Dense\).*\(1, 5\): expected axis -1 to have size 4"):
        model.build((None, 5))


def test_a_subclass_in_a_sequential():
    model = ad.Sequential([layers.Input((4,)), Classifier(), layers.Dense(3)])
    assert (model.output_shape, len(model.weights)) == ((None, 3), 6)
    model.compile(loss="mse")
    assert len(model.optimizer.variables) > 6
