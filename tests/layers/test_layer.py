"""What all layers share: building, weights, tracking, calling, configuration, messages."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import layers

X = np.arange(12, dtype="float32").reshape(4, 3)


class Linear(layers.Layer):
    """The layer of the Keras guide."""

    def __init__(self, units=32, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True
        )
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", trainable=True)

    def call(self, inputs):
        return ad.ops.matmul(inputs, self.w) + self.b


class Block(layers.Layer):
    """Layers inside a layer, in an attribute, a list and a dict."""

    def __init__(self):
        super().__init__()
        self.first = Linear(4)
        self.rest = [Linear(3)]
        self.heads = {"out": Linear(2)}

    def call(self, inputs):
        return self.heads["out"](ad.ops.relu(self.rest[0](self.first(inputs))))


class Training(layers.Layer):
    """Says what it was told about training."""

    def call(self, inputs, training=None):
        self.told = training
        return inputs


# -- building and weights ------------------------------------------------------------------------


def test_a_layer_builds_at_its_first_call():
    layer = Linear(2)
    assert (layer.built, layer.weights) == (False, [])
    output = layer(X)
    w, b = layer.get_weights()
    np.testing.assert_allclose(output.numpy(), X @ w + b, rtol=1e-5)
    assert (layer.built, w.shape, b.shape, layer.count_params()) == (True, (3, 2), (2,), 8)


def test_building_by_hand():
    layer = layers.Dense(2)
    layer.build((None, 5))
    kernel = layer.kernel
    layer(np.zeros((1, 5), "float32"))
    assert layer.kernel is kernel


def test_layers_inside_a_layer_are_found():
    block = Block()
    block(X)
    assert [v.shape for v in block.weights] == [(3, 4), (4,), (4, 3), (3,), (3, 2), (2,)]
    assert block.count_params() == 16 + 15 + 8
    assert len({v.path for v in block.weights}) == 6
    block.rest.append(Linear(7))
    block.rest[1](X)
    assert len(block.trainable_variables) == 8
    block.rest = []
    assert len(block.trainable_variables) == 4


def test_freezing():
    block = Block()
    block(X)
    block.first.trainable = False
    assert len(block.trainable_variables) == 4
    assert block.non_trainable_variables == block.first.weights
    block.trainable = False
    assert block.trainable_variables == []
    assert not block.heads["out"].trainable
    block.trainable = True
    assert len(block.trainable_variables) == 6


def test_a_weight_made_not_to_be_trained_stays_so():
    layer = layers.BatchNormalization()
    layer(X)
    layer.trainable = False
    layer.trainable = True
    assert [v.name for v in layer.trainable_variables] == ["gamma", "beta"]


def test_variables_assigned_to_attributes_are_weights():
    layer = layers.Layer()
    layer.counter = ad.Variable(np.zeros(2), trainable=False)
    layer.scale = ad.Variable(np.ones(3))
    assert layer.trainable_variables == [layer.scale]
    assert layer.non_trainable_variables == [layer.counter]
    del layer.scale
    assert layer.weights == [layer.counter]


def test_set_weights_checks_all_before_it_changes_any():
    layer = layers.Dense(2, name="d")
    layer.build((None, 3))
    before = layer.get_weights()
    with pytest.raises(ValueError, match="'d' has 2 weights, but set_weights received 1 arrays"):
        layer.set_weights(before[:1])
    with pytest.raises(ValueError, match=r"'d/bias' has shape \(2,\).*array of shape \(3,\)"):
        layer.set_weights([before[0] + 1, np.zeros(3)])
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    layer.set_weights([before[0] + 1, [5.0, 6.0]])
    np.testing.assert_array_equal(layer.kernel.numpy(), before[0] + 1)
    np.testing.assert_array_equal(layer.bias.numpy(), [5.0, 6.0])


def test_get_weights_returns_copies():
    layer = layers.Dense(2)
    layer.build((None, 3))
    layer.get_weights()[1][:] = 9.0
    np.testing.assert_array_equal(layer.bias.numpy(), [0.0, 0.0])


def test_count_params_needs_weights():
    with pytest.raises(ValueError, match=r"'d' has no weights yet\. Build it first"):
        layers.Dense(2, name="d").count_params()


def test_add_weight():
    layer = layers.Layer(name="own")
    scalar = layer.add_weight(name="scalar")
    whole = layer.add_weight(np.int64(3), dtype="int32", name="whole")
    assert (scalar.shape, scalar.dtype, scalar.path) == ((), "float32", "own/scalar")
    assert (whole.shape, whole.dtype, whole.trainable) == ((3,), "int32", False)
    np.testing.assert_array_equal(whole.numpy(), [0, 0, 0])
    with pytest.raises(ValueError, match=r"'own'.*weight 'w' of shape \(None, 2\): every side"):
        layer.add_weight((None, 2), name="w")
    with pytest.raises(ValueError, match=r"integers of 0 or more, or None\. Received: \(2, -1\)"):
        layer.add_weight((2, -1))


def test_a_build_that_fails_leaves_no_weights():
    class Fails(layers.Layer):
        def build(self, input_shape):
            self.add_weight((2,), name="first")
            raise ValueError("no second weight")

        def call(self, inputs):
            return inputs

    layer = Fails(name="f")
    with pytest.raises(ValueError, match=r"^Layer 'f' \(Fails\): no second weight$"):
        layer(X)
    assert (layer.built, layer.weights) == (False, [])


# -- calling -------------------------------------------------------------------------------------


def test_training_reaches_inner_layers():
    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Training()

        def call(self, inputs):
            return self.inner(inputs)

    outer = Outer()
    for training in (True, False):
        outer(X, training=training)
        assert outer.inner.told is training
    outer(X)
    assert outer.inner.told is None


def test_float_inputs_are_cast_and_integers_left_to_layers_that_want_them():
    class DType(layers.Layer):
        def call(self, inputs):
            self.seen = inputs.dtype
            return inputs

    layer = DType()
    for given, seen in (("float64", "float32"), ("int64", "int64"), ("float32", "float32")):
        layer(X.astype(given))
        assert layer.seen == seen
    kept = DType(autocast=False)
    kept(X.astype("float64"))
    assert kept.seen == "float64"


def test_inputs_in_lists_and_dicts():
    class Sum(layers.Layer):
        def call(self, inputs):
            values = inputs.values() if isinstance(inputs, dict) else inputs
            return sum(values)

    layer = Sum()
    np.testing.assert_array_equal(layer([X, 2 * X]).numpy(), 3 * X)
    np.testing.assert_array_equal(layer({"a": X, "b": X}).numpy(), 2 * X)


def test_compute_output_shape_without_a_formula_tries_the_layer():
    layer = Linear(5)
    assert layer.compute_output_shape((None, 3)) == (None, 5)
    assert layer.compute_output_shape((None, 7, 3)) == (None, 7, 5)
    assert layer.compute_output_shape((4, None, 3)) == (4, None, 5)


def test_symbolic_input():
    layer = layers.Conv2D(4, 3)
    output = layer(layers.Input((8, 8, 1)))
    assert (output.shape, layer.built) == ((None, 6, 6, 4), True)


def test_an_error_in_call_names_the_layer():
    class Wrong(layers.Layer):
        def call(self, inputs):
            return inputs @ ad.zeros((7, 2))

    with pytest.raises(ValueError, match=r"Layer 'w' \(Wrong\): matmul: .*\(4, 3\).*\(7, 2\)"):
        Wrong(name="w")(X)


def test_add_loss_is_cleared_by_the_next_call():
    class Penalized(layers.Layer):
        def call(self, inputs):
            self.add_loss(ad.ops.sum(inputs))
            return inputs

    layer = Penalized()
    layer(X)
    layer(X)
    assert [float(loss) for loss in layer.losses] == [66.0]


def test_wrong_rank_and_size():
    layer = layers.Dense(2, name="d")
    with pytest.raises(ValueError) as caught:
        layer(np.zeros(3, "float32"))
    assert str(caught.value) == (
        "Layer 'd' (Dense) cannot take an input of shape (None,): expected at least 2 dimensions. "
        "Add the batch axis: x[None, :]."
    )
    layer(X)
    with pytest.raises(
        ValueError, match=r"'d' \(Dense\).*\(4, 5\): expected axis -1 to have size 3"
    ):
        layer(np.zeros((4, 5), "float32"))
    flat = layers.Dense(2, name="flat")
    flat.build((None, 12))
    with pytest.raises(ValueError, match=r"\(1, 4, 3\).*size 12\. Flatten the input first: add a"):
        flat(X[None])


def test_forgotten_super_init():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.units = 3

    with pytest.raises(RuntimeError, match=r"Forgetful.__init__ must call super\(\).__init__\(\)"):
        Forgetful()


def test_call_must_be_written():
    with pytest.raises(NotImplementedError, match="Layer must implement call"):
        layers.Layer()(X)


def test_unknown_argument_gets_the_nearest():
    with pytest.raises(
        TypeError, match=r"Dense got an unexpected argument 'activaton'\. Did you mean 'acti"
    ):
        layers.Dense(2, activaton="relu")
    with pytest.raises(TypeError, match=r"'input_shap'\. Did you mean 'input_shape'"):
        layers.Conv2D(2, 3, input_shap=(3, 3, 1))


# -- names and configuration ---------------------------------------------------------------------


def test_names_count_as_in_keras():
    ad.utils.clear_session()
    made = [layers.Conv2D(1, 1), layers.Conv2D(1, 1), layers.MaxPooling2D(), layers.ReLU()]
    assert [layer.name for layer in made] == ["conv2d", "conv2d_1", "max_pooling2d", "re_lu"]
    assert layers.BatchNormalization().name == "batch_normalization"


CONFIGURED = [
    layers.Dense(3, "relu", False, "he_normal", kernel_regularizer=ad.regularizers.L2(0.1)),
    layers.Dense(3, activity_regularizer="l1", trainable=False, dtype="float64", name="d"),
    layers.Conv2D(4, (2, 3), 2, "same", "channels_first", groups=2, activation="gelu"),
    layers.Conv2D(
        4, 2, dilation_rate=2, use_bias=False, bias_regularizer="l2", input_shape=(4, 4, 1)
    ),
    layers.MaxPooling2D(3, 2, "same"),
    layers.AveragePooling2D((2, 3), data_format="channels_first"),
    layers.Flatten("channels_first"),
    layers.Dropout(0.3, (None, 1), 4),
    layers.BatchNormalization(1, 0.9, 0.01, False, gamma_initializer="he_uniform"),
    layers.Activation("swish"),
    layers.ReLU(6.0, 0.1, 0.5),
    layers.LeakyReLU(0.1),
    layers.Softmax((1, 2)),
    layers.InputLayer((3, None), 2, "int32"),
]


@pytest.mark.parametrize("layer", CONFIGURED, ids=lambda layer: type(layer).__name__)
def test_config_round_trip(layer):
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again is not layer
    assert (type(again), again.get_config()) == (type(layer), config)
    by_name = layers.deserialize(layers.serialize(layer))
    assert (type(by_name), by_name.get_config()) == (type(layer), config)


def test_config_round_trip_covers_every_layer():
    public = {
        value
        for name, value in vars(layers).items()
        if name in layers.__all__ and isinstance(value, type) and issubclass(value, layers.Layer)
    }
    assert public - {type(layer) for layer in CONFIGURED} == {layers.Layer}


def test_unknown_class_in_a_config():
    with pytest.raises(ValueError, match=r"Unknown layer 'Dens'\. Did you mean 'Dense'"):
        layers.deserialize({"class_name": "Dens", "config": {}})


def test_own_layers_in_a_config():
    again = layers.deserialize(
        {"class_name": "Linear", "config": {"units": 5}}, custom_objects={"Linear": Linear}
    )
    assert (type(again), again.units) == (Linear, 5)


def test_input():
    assert layers.Input((28, 28, 1)).shape == (None, 28, 28, 1)
    assert layers.Input(shape=5, batch_size=np.int64(8)).shape == (8, 5)
    assert layers.Input(batch_shape=(4, None)).shape == (4, None)
    with pytest.raises(
        ValueError, match="either `shape`, without the batch axis, or `batch_shape`"
    ):
        layers.Input()
    with pytest.raises(ValueError, match=r"integers of 0 or more, or None\. Received: \(3, -1\)"):
        layers.Input((3, -1))
    with pytest.raises(TypeError, match="has no values yet"):
        bool(layers.Input((3,)))


@pytest.mark.parametrize("argument", [{"input_shape": (3,)}, {"input_shape": 3}, {"input_dim": 3}])
def test_input_shape_of_a_first_layer(argument):
    model = ad.Sequential([layers.Dense(2, **argument)])
    assert (model.built, model.input_shape) == (True, (None, 3))
