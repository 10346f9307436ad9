"""Saving models with classes and functions of the user's own."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import load_file
from saved_models import Subclassed, again, assert_same, assert_same_training, network

import autodan as ad
from autodan import layers, losses, models, optimizers, saving
from autodan.errors import FormatError

SGD = optimizers.SGD


@saving.register_keras_serializable("tests")
class Scaled(layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.inner = layers.Dense(2, name="inner")

    def build(self, input_shape):
        one, other = (self.add_weight((2,), "ones", name=name) for name in ("one", "other"))
        self.heads = {"a/b": one, "a": {"b": other}}
        self.add_weight((), "zeros", trainable=False, name="count")

    def call(self, inputs):
        return self.inner(inputs) * self.factor * self.heads["a/b"] + self.heads["a"]["b"]

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_registered_objects_need_no_mention(tmp_path):
    assert saving.get_registered_name(Scaled) == "tests>Scaled"
    model = ad.Sequential([ad.Input((3,)), Scaled(2.0), layers.Dense(1)])
    model.layers[0].inner.trainable = False
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    loaded = again(model, tmp_path)
    assert_same(model, loaded)
    assert not loaded.layers[0].inner.trainable
    names = load_file(tmp_path / "model.keras")
    own = {name for name in names if name.startswith("model/layers/0/")}
    assert own == {
        f"model/layers/0/{name}"
        for name in ("inner/kernel", "inner/bias", "heads/a/b", "heads/a/b~", "weights/2")
    }


def doubled(x):
    return 2.0 * x


def distance(y_true, y_pred):
    return ad.ops.mean(ad.ops.abs(y_true - y_pred), axis=-1)


class Distance(losses.Loss):
    def call(self, y_true, y_pred):
        return distance(y_true, y_pred)


class Descent(optimizers.Optimizer):
    def create_slots(self, variables):
        self.sums = self.add_optimizer_variables(variables, "sum")

    def update_step(self, gradient, variable, learning_rate):
        self.sums[self._get_variable_index(variable)].assign_add(gradient)
        variable.assign_sub(learning_rate * gradient)


class Halving(optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 ** (1 + float(step))

    def get_config(self):
        return {}


OWN = {c.__name__: c for c in (doubled, distance, Distance, Descent, Halving)}


@pytest.mark.parametrize("loss", [distance, Distance()])
@pytest.mark.parametrize("how", ["argument", "scope"])
def test_objects_of_ones_own_come_by_name(tmp_path, loss, how):
    model = ad.Sequential([ad.Input((3,)), layers.Dense(2, activation=doubled)])
    model.compile(Descent(Halving()), loss, metrics=[distance])
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "m")
    with pytest.raises(FormatError, match=r"doubled'.*custom_objects=\{'doubled': doubled\}"):
        models.load_model(tmp_path / "m")
    if how == "argument":
        loaded = models.load_model(tmp_path / "m", custom_objects=OWN)
    else:
        with saving.custom_object_scope(OWN):
            loaded = models.load_model(tmp_path / "m")
    assert_same_training(model, loaded)
    for each in (model, loaded):
        each.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert_same_training(model, loaded)


class Silent(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units


class Dense(layers.Dense):
    """A class of the user's own under the name of one of autodan's."""


class Configured(Subclassed):
    def __init__(self, width=3, **kwargs):
        ad.Model.__init__(self, **kwargs)
        self.blocks = [layers.Dense(width, activation="relu"), layers.Dropout(0.5)]
        self.out = layers.Dense(1)
        self.width = width

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ad.Sequential([Silent(3)]), "Silent takes 'units' in its constructor"),
        (lambda: ad.Sequential([layers.Activation(lambda x: x)]), "has no name"),
        (lambda: ad.Sequential([layers.ReLU(max_value=float("inf"))]), "holds inf"),
    ],
)
def test_what_cannot_be_described_is_refused_before_anything_is_written(tmp_path, make, says):
    path = tmp_path / "m"
    path.write_text("old")
    with pytest.raises((NotImplementedError, ValueError), match=says):
        make().save(path)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["m"])


def test_a_learning_rate_that_is_a_function_points_to_save_weights(tmp_path):
    model = network(SGD(0.1))
    model.compile(SGD(lambda: 0.1), "mse")
    with pytest.raises(ValueError, match=r"function as learning rate.*save_weights"):
        model.save(tmp_path / "m")


def test_a_class_under_anothers_name_is_not_mistaken_for_it(tmp_path):
    model = ad.Sequential([ad.Input((3,)), Dense(2)])
    model.save(tmp_path / "m")
    with pytest.raises(FormatError, match="Unknown layer 'Dense', which is not one of autodan's"):
        models.load_model(tmp_path / "m")
    loaded = models.load_model(tmp_path / "m", custom_objects={"Dense": Dense})
    assert type(loaded.layers[0]) is Dense


def test_a_subclassed_model_goes_on_too(tmp_path):
    x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")

    def train(model, epochs):
        return model.fit(x, y, batch_size=2, epochs=epochs, verbose=0)

    ad.utils.set_random_seed(1)
    whole = Configured(5)
    whole.compile("adam", "mse")
    train(whole, 2)
    ad.utils.set_random_seed(1)
    first = Configured(5)
    first.compile("adam", "mse")
    train(first, 1)
    second = again(first, tmp_path, custom_objects={"Configured": Configured})
    train(second, 1)
    assert_same_training(whole, second)
    with pytest.raises(NotImplementedError, match="save_weights"):
        Silenced().save(tmp_path / "other")


class Silenced(Subclassed):
    def __init__(self, units=3):
        super().__init__()
