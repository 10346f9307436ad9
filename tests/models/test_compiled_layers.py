"""Every layer, regularizer and form of model: a compiled step does what an eager one does."""

from __future__ import annotations

import pytest
from compiled_reference import X, both, classifier, rows, steps

import autodan as ad
from autodan import layers, models


class Own(layers.Layer):
    """A layer as users write them: weights, `training`, a loss and a metric of its own."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), "ones", regularizer="l2")
        self.seen = self.add_weight((), "zeros", trainable=False)
        self.size = ad.metrics.Mean(name="size")

    def call(self, inputs, training=False):
        self.add_loss(0.1 * ad.ops.mean(ad.ops.square(inputs)))
        if training:
            self.seen.assign_add(1.0)
        outputs = inputs * self.scale
        self.size.update_state(ad.ops.mean(ad.ops.abs(outputs)))
        return outputs


IMAGE = (6, 5, 2)
# By the name in autodan.layers: the shape of a sample, and the layers to try.
CASES = {
    "Activation": ((4,), [lambda a=a: layers.Activation(a) for a in ad.activations._TABLE]),
    "AveragePooling2D": (
        IMAGE,
        [
            layers.AveragePooling2D,
            lambda: layers.AveragePooling2D(3, 1, "same"),
            lambda: layers.AveragePooling2D((2, 3), data_format="channels_first"),
        ],
    ),
    "AvgPool2D": (IMAGE, [layers.AvgPool2D]),
    "BatchNormalization": (
        IMAGE,
        [
            layers.BatchNormalization,
            lambda: layers.BatchNormalization(axis=1, momentum=0.5, scale=False),
            lambda: layers.BatchNormalization(trainable=False),
        ],
    ),
    "Conv2D": (
        IMAGE,
        [
            lambda: layers.Conv2D(3, 3, activation="relu"),
            lambda: layers.Conv2D(4, (3, 2), strides=2, padding="same", groups=2),
            lambda: layers.Conv2D(2, 2, dilation_rate=2, use_bias=False, activation="tanh"),
            lambda: layers.Conv2D(3, 2, data_format="channels_first"),
        ],
    ),
    "Convolution2D": (IMAGE, [lambda: layers.Convolution2D(3, 3, padding="same")]),
    "Dense": (
        IMAGE,
        [lambda: layers.Dense(3, "sigmoid"), lambda: layers.Dense(2, use_bias=False)],
    ),
    "Dropout": (
        IMAGE,
        [
            lambda: layers.Dropout(0.4),
            lambda: layers.Dropout(0.5, noise_shape=(None, 1, 1, None), seed=3),
            lambda: layers.Dropout(0.99),
            lambda: layers.Dropout(0.0),
        ],
    ),
    "Flatten": (IMAGE, [layers.Flatten, lambda: layers.Flatten("channels_first")]),
    "InputLayer": (IMAGE, [lambda: layers.Activation("linear")]),
    "Layer": (IMAGE, [Own]),
    "LeakyReLU": (IMAGE, [layers.LeakyReLU, lambda: layers.LeakyReLU(0.1)]),
    "MaxPool2D": (IMAGE, [layers.MaxPool2D]),
    "MaxPooling2D": (
        IMAGE,
        [
            layers.MaxPooling2D,
            lambda: layers.MaxPooling2D(3, 2, "same"),
            lambda: layers.MaxPooling2D(2, 1, data_format="channels_first"),
        ],
    ),
    "ReLU": (IMAGE, [layers.ReLU, lambda: layers.ReLU(1.0, 0.1, 0.2)]),
    "Softmax": (IMAGE, [layers.Softmax, lambda: layers.Softmax(axis=1)]),
}


def test_every_layer_has_a_case():
    exported = {name: getattr(layers, name) for name in layers.__all__}
    classes = {
        n for n, v in exported.items() if isinstance(v, type) and issubclass(v, layers.Layer)
    }
    assert set(CASES) == classes


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, (_, made) in CASES.items() for i in range(len(made))]
)
def test_layers(name, number, floatx):
    shape, made = CASES[name]

    def make():
        model = models.Sequential(
            [
                layers.InputLayer(shape),
                layers.Dense(4),
                made[number](),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )
        model.compile(ad.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
        return model

    both(make, steps(rows(6, *shape), rows(6, 2)), floatx, ("train", "test", "predict"))


@pytest.mark.parametrize("argument", ["kernel", "bias", "activity"])
@pytest.mark.parametrize(
    "penalty", ["l1", "l2", ad.regularizers.L1L2(0.01, 0.02), lambda w: ad.ops.sum(w**4)]
)
def test_regularizers(argument, penalty, floatx):
    def make():
        return classifier(layers.Dense(5, "relu", **{f"{argument}_regularizer": penalty}))

    both(make, steps(), floatx, ("train", "test", "predict"))


def test_a_subclassed_model_with_branches_and_a_nested_model(floatx):
    class Branches(models.Model):
        def __init__(self):
            super().__init__()
            self.left = models.Sequential([layers.Dense(4, "relu"), layers.BatchNormalization()])
            self.right = [layers.Dense(4, "tanh"), layers.Dropout(0.5)]
            self.head = layers.Dense(3, "softmax")

        def call(self, inputs, training=False):
            right = inputs
            for layer in self.right:
                right = layer(right, training=training)
            return self.head(ad.ops.concatenate([self.left(inputs), right], -1) + inputs[:, :1])

    def make():
        model = Branches()
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    both(make, steps(), floatx, ("train", "test", "predict"))


def test_inputs_and_outputs_in_dicts_and_lists(floatx):
    class Sums(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            if isinstance(inputs, list):
                return self.dense(inputs[0]) - self.dense(inputs[1])
            return self.dense(inputs["a"]) + 2 * self.dense(inputs["b"])

    def use(model):
        a, b = rows(6, 3), rows(6, 3, seed=2)
        y = rows(6, 2)
        forms = ({"a": a, "b": b}, {"b": a, "a": b}, [a, b])
        return [[model.train_on_batch(x, y), model.predict(x, verbose=0)] for x in forms]

    def make():
        model = Sums()
        model.compile("sgd", "mse")
        return model

    both(make, use, floatx, ("train", "predict"))


def test_several_outputs_of_a_prediction(floatx):
    class Many(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            y = self.dense(inputs)
            return {"y": y, "parts": [y[:, 0], inputs], "same": y}

    def use(model):
        outputs = model.predict(X, batch_size=5, verbose=0)
        outputs["y"][:] = 7.0  # the caller's own
        return model.predict(X, batch_size=5, verbose=0)

    def make():
        model = Many()
        model(X)
        return model

    both(make, use, floatx, ("predict",))
