"""Losses against NumPy references written from their formulas, and their gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import autodan as ad
from autodan import losses

RNG = np.random.default_rng(0)
EPSILON = 1e-7


# -- references, in float64 ----------------------------------------------------------------------


def log_softmax(logits, axis=-1):
    shifted = logits - logits.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def bce_from_logits(target, logits):
    return np.logaddexp(0.0, logits) - target * logits


def bce_from_probabilities(target, p):
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def softmax(logits, axis=-1):
    return np.exp(log_softmax(logits, axis))


def huber(t, p, delta=1.0):
    error = np.abs(t - p)
    return np.where(error <= delta, 0.5 * error**2, delta * error - 0.5 * delta**2).mean(-1)


def kl_divergence(t, p):
    t, p = np.clip(t, EPSILON, 1), np.clip(p, EPSILON, 1)
    return (t * np.log(t / p)).sum(-1)


REGRESSION = [
    (losses.mean_squared_error, losses.MeanSquaredError, lambda t, p: ((t - p) ** 2).mean(-1)),
    (losses.mean_absolute_error, losses.MeanAbsoluteError, lambda t, p: np.abs(t - p).mean(-1)),
    (losses.huber, losses.Huber, huber),
    (losses.log_cosh, losses.LogCosh, lambda t, p: np.log(np.cosh(p - t)).mean(-1)),
    (losses.kl_divergence, losses.KLDivergence, kl_divergence),
    (losses.hinge, losses.Hinge, lambda t, p: np.maximum(1 - t * p, 0).mean(-1)),
]
SHAPES = [(4, 3), (5, 1), (2, 3, 4), (6,)]


def pair_of(kind, shape):
    """Return targets and predictions in the loss's domain."""
    if kind is losses.KLDivergence:
        return (softmax(RNG.normal(size=shape)) for _ in range(2))
    if kind is losses.Hinge:
        return np.where(RNG.uniform(size=shape) < 0.5, -1.0, 1.0), RNG.normal(size=shape)
    return RNG.normal(size=shape), 2 * RNG.normal(size=shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("function", "kind", "reference"), REGRESSION)
def test_regression_losses(function, kind, reference, shape, dtype):
    target, prediction = (a.astype(dtype) for a in pair_of(kind, shape))
    expected = reference(target.astype("float64"), prediction.astype("float64"))
    tolerance = {"rtol": 2e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-10}
    values = function(ad.tensor(target), ad.tensor(prediction))
    assert values.dtype == dtype
    np.testing.assert_allclose(values.numpy(), expected, **tolerance)
    loss = kind()(ad.tensor(target), ad.tensor(prediction))
    assert (loss.shape, loss.dtype) == ((), dtype)
    np.testing.assert_allclose(loss.numpy(), expected.mean(), **tolerance)


def test_log_cosh_does_not_overflow():
    values = losses.log_cosh([[0.0, 0.0]], [[1e4, -1e4]]).numpy()
    np.testing.assert_allclose(values, 1e4 - np.log(2), rtol=1e-6)


def test_huber_delta():
    target, prediction = RNG.normal(size=(4, 3)), 3 * RNG.normal(size=(4, 3))
    loss = losses.Huber(delta=0.5, dtype="float64")(target, prediction)
    np.testing.assert_allclose(loss.numpy(), huber(target, prediction, 0.5).mean(), rtol=1e-12)


def test_hinge_takes_zeros_for_minus_one():
    prediction = RNG.normal(size=(4, 3))
    binary = RNG.integers(0, 2, size=(4, 3))
    converted = losses.hinge(ad.tensor(binary), ad.tensor(prediction)).numpy()
    plain = losses.hinge(ad.tensor(2.0 * binary - 1.0), ad.tensor(prediction)).numpy()
    np.testing.assert_allclose(converted, plain)


# -- crossentropies ------------------------------------------------------------------------------


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_crossentropy(from_logits, smoothing):
    target = RNG.integers(0, 2, size=(5, 4)).astype("float64")
    logits = 3 * RNG.normal(size=(5, 4))
    smooth = target * (1 - smoothing) + 0.5 * smoothing
    prediction = logits if from_logits else 1 / (1 + np.exp(-logits))
    reference = bce_from_logits if from_logits else bce_from_probabilities
    expected = reference(smooth, prediction).mean(-1)
    values = losses.binary_crossentropy(
        target, ad.tensor(prediction), from_logits=from_logits, label_smoothing=smoothing
    )
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)
    loss = losses.BinaryCrossentropy(from_logits, smoothing)(target, ad.tensor(prediction))
    np.testing.assert_allclose(loss.numpy(), expected.mean(), rtol=1e-9)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("axis", [-1, 1])
def test_categorical_crossentropy(from_logits, smoothing, axis):
    logits = 2 * RNG.normal(size=(3, 5, 4))
    classes = logits.shape[axis]
    labels = RNG.integers(0, classes, size=np.delete(logits.shape, axis))
    target = np.moveaxis(np.eye(classes)[labels], -1, axis)
    smooth = target * (1 - smoothing) + smoothing / classes
    expected = -(smooth * log_softmax(logits, axis)).sum(axis)
    prediction = logits if from_logits else softmax(logits, axis)
    loss = losses.CategoricalCrossentropy(from_logits, smoothing, axis=axis, reduction=None)
    values = loss(target, ad.tensor(prediction))
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("label_dtype", ["int64", "int32", "uint8", "float32"])
def test_sparse_categorical_crossentropy(from_logits, axis, label_dtype):
    logits = 2 * RNG.normal(size=(3, 5, 4))
    classes = logits.shape[axis]
    labels = RNG.integers(0, classes, size=np.delete(logits.shape, axis))
    picked = np.take_along_axis(log_softmax(logits, axis), np.expand_dims(labels, axis), axis)
    expected = -picked.squeeze(axis)
    prediction = logits if from_logits else softmax(logits, axis)
    for shaped in (labels, np.expand_dims(labels, axis)):
        loss = losses.SparseCategoricalCrossentropy(from_logits, axis=axis, reduction="none")
        values = loss(shaped.astype(label_dtype), ad.tensor(prediction))
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("size", [1e4, 88.8, 1e30])
def test_extreme_logits_stay_exact(size):
    logits = ad.tensor(np.array([[size, -size, 0.0]], "float32"), requires_grad=True)
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    values = [float(sparse([label], logits).numpy()[0]) for label in range(3)]
    np.testing.assert_allclose(values, [0.0, 2 * size, size], rtol=1e-6)
    one_hot = losses.categorical_crossentropy([[0.0, 1.0, 0.0]], logits, from_logits=True)
    np.testing.assert_allclose(one_hot.numpy(), [2 * size], rtol=1e-6)
    binary = losses.binary_crossentropy([[0.0, 1.0, 1.0]], logits, from_logits=True)
    np.testing.assert_allclose(binary.numpy(), [(2 * size + np.log(2)) / 3], rtol=1e-6)
    sparse([1], logits).sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), [[1.0, -1.0, 0.0]], atol=1e-30)


def test_probabilities_are_clipped():
    binary = losses.binary_crossentropy([[1.0, 0.0]], [[0.0, 1.0]])
    np.testing.assert_allclose(binary.numpy(), [-np.log(EPSILON)], rtol=1e-2)
    sparse = losses.sparse_categorical_crossentropy([0], [[0.0, 1.0]])
    np.testing.assert_allclose(sparse.numpy(), [-np.log(EPSILON)], rtol=1e-5)


def test_unnormalized_probabilities_are_normalized():
    weights = np.array([[1.0, 2.0, 5.0]])
    values = losses.categorical_crossentropy([[0.0, 0.0, 1.0]], ad.tensor(weights))
    np.testing.assert_allclose(values.numpy(), [-np.log(5 / 8)], rtol=1e-12)


def test_class_numbers_of_unnormalized_probabilities():
    """They are clipped before they are made to sum to 1, as Keras's sparse form does."""
    weights = np.array([[0.2, 0.3, 2.0]])
    clipped = np.clip(weights, EPSILON, 1 - EPSILON)
    expected = -np.log(clipped / clipped.sum())[0]
    for label in range(3):
        value = losses.sparse_categorical_crossentropy([label], ad.tensor(weights))
        np.testing.assert_allclose(value.numpy(), expected[label : label + 1], rtol=1e-12)


def fused_cases():
    labels = RNG.integers(0, 4, size=(5,))
    one_hot = np.eye(4)[labels]
    yes_no = RNG.integers(0, 2, size=(5, 4)).astype("float64")
    return [
        (losses.SparseCategoricalCrossentropy(), ad.activations.softmax, labels),
        (losses.CategoricalCrossentropy(), ad.activations.softmax, one_hot),
        (losses.CategoricalCrossentropy(label_smoothing=0.1), ad.activations.softmax, one_hot),
        (losses.BinaryCrossentropy(), ad.activations.sigmoid, yes_no),
    ]


@pytest.mark.parametrize(("loss", "activation", "target"), fused_cases())
def test_activation_feeding_a_loss_is_fused(loss, activation, target):
    logits = RNG.normal(size=(5, 4))
    logits[0] = [1e4, -1e4, 0.0, 50.0]
    fused = loss(target, activation(ad.tensor(logits)))
    plain = type(loss).from_config({**loss.get_config(), "from_logits": True})
    np.testing.assert_allclose(fused.numpy(), plain(target, ad.tensor(logits)).numpy(), rtol=1e-12)


@pytest.mark.parametrize(("loss", "activation", "target"), fused_cases())
@pytest.mark.parametrize("fused", [True, False])
def test_gradient_against_finite_differences(loss, activation, target, fused):
    logits = RNG.normal(size=(5, 4))
    weight = RNG.uniform(0.5, 2.0, size=5)

    def value(x):
        prediction = activation(x)
        return loss(target, prediction if fused else prediction * 1.0, sample_weight=weight)

    x = ad.tensor(logits, requires_grad=True)
    value(x).backward()
    step = 1e-5
    numeric = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        shift = np.zeros_like(logits)
        shift[index] = step
        above, below = value(ad.tensor(logits + shift)), value(ad.tensor(logits - shift))
        numeric[index] = (float(above) - float(below)) / (2 * step)
    np.testing.assert_allclose(x.grad.numpy(), numeric, rtol=1e-5, atol=1e-7)


def test_fusing_survives_a_change_of_dtype():
    logits = np.array([[1e4, -1e4]])
    loss = losses.SparseCategoricalCrossentropy(dtype="float32")
    value = loss([1], ad.activations.softmax(ad.tensor(logits)))
    assert (value.dtype, float(value)) == ("float32", 2e4)


def test_a_loss_ignores_the_logits_of_another_activation():
    logits = RNG.normal(size=(5, 4)) * 3
    one_hot = np.eye(4)[RNG.integers(0, 4, size=5)]

    probabilities = softmax(logits)
    binary = losses.binary_crossentropy(one_hot, ad.activations.softmax(ad.tensor(logits)))
    expected = bce_from_probabilities(one_hot, probabilities).mean(-1)
    np.testing.assert_allclose(binary.numpy(), expected, rtol=1e-9)

    scores = 1 / (1 + np.exp(-logits))
    expected = -(one_hot * np.log(scores / scores.sum(-1, keepdims=True))).sum(-1)
    prediction = ad.activations.sigmoid(ad.tensor(logits))
    categorical = losses.categorical_crossentropy(one_hot, prediction)
    np.testing.assert_allclose(categorical.numpy(), expected, rtol=1e-6)
    sparse = losses.sparse_categorical_crossentropy(one_hot.argmax(-1), prediction)
    np.testing.assert_allclose(sparse.numpy(), expected, rtol=1e-6)


def test_a_loss_over_another_axis_ignores_the_logits():
    logits = RNG.normal(size=(3, 4, 2))
    one_hot = np.eye(4)[RNG.integers(0, 4, size=(3, 2))].swapaxes(1, 2)
    weights = softmax(logits, -1)
    expected = -(one_hot * np.log(weights / weights.sum(1, keepdims=True))).sum(1)
    prediction = ad.activations.softmax(ad.tensor(logits), axis=-1)
    value = losses.categorical_crossentropy(one_hot, prediction, axis=1)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-9)


def test_from_logits_on_a_softmax_is_pointed_out():
    prediction = ad.activations.softmax(ad.tensor([[0.0, 1.0]]))
    with pytest.warns(UserWarning, match="from_logits=True, but y_pred comes from a softmax"):
        losses.SparseCategoricalCrossentropy(from_logits=True)([1], prediction)


@pytest.mark.parametrize(
    ("ignored", "label_dtype"), [(-1, "int64"), (255, "int64"), (255, "uint8")]
)
def test_ignored_class_does_not_count(ignored, label_dtype):
    logits = RNG.normal(size=(6, 3))
    labels = np.array([0, 1, 2, 0, 0, 1])
    counted = np.array([True, False, True, True, False, True])
    marked = np.where(counted, labels, ignored).astype(label_dtype)
    values = -log_softmax(logits)[np.arange(6), labels]
    weight = RNG.uniform(0.5, 2.0, size=6)

    def loss(reduction, sample_weight=None):
        crossentropy = losses.SparseCategoricalCrossentropy(True, ignored, reduction=reduction)
        return crossentropy(marked, ad.tensor(logits), sample_weight).numpy()

    np.testing.assert_allclose(loss("none"), values * counted, rtol=1e-9)
    np.testing.assert_allclose(loss("sum"), values[counted].sum(), rtol=1e-9)
    np.testing.assert_allclose(loss("mean"), values[counted].mean(), rtol=1e-9)
    expected = np.average(values[counted], weights=weight[counted])
    np.testing.assert_allclose(loss("mean_with_sample_weight", weight), expected, rtol=1e-9)
    all_ignored = np.full(6, ignored).astype(label_dtype)
    crossentropy = losses.SparseCategoricalCrossentropy(True, ignored)
    assert float(crossentropy(all_ignored, ad.tensor(logits))) == 0.0


# -- reductions and weights ----------------------------------------------------------------------

VALUES = np.array([1.0, 4.0, 9.0, 16.0])


def squares(reduction, sample_weight=None):
    loss = losses.MeanSquaredError(reduction=reduction, dtype="float64")
    return loss(np.zeros((4, 1)), np.sqrt(VALUES)[:, None], sample_weight).numpy()


def test_reductions_without_weights():
    for reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        np.testing.assert_allclose(squares(reduction), 7.5)
    np.testing.assert_allclose(squares("sum"), 30.0)
    for reduction in ("none", None):
        np.testing.assert_allclose(squares(reduction), VALUES)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_reductions_with_weights(shape):
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    total = (VALUES * weights).sum()
    given = weights.reshape(shape)
    np.testing.assert_allclose(squares("sum_over_batch_size", given), total / 4)
    np.testing.assert_allclose(squares("mean", given), total / 4)
    np.testing.assert_allclose(squares("mean_with_sample_weight", given), total / weights.sum())
    np.testing.assert_allclose(squares("sum", given), total)
    np.testing.assert_allclose(squares("none", given), VALUES * weights)


def test_weights_of_zero_give_zero():
    assert float(squares("mean_with_sample_weight", np.zeros(4))) == 0.0


def test_a_number_as_weight():
    np.testing.assert_allclose(squares("sum", 2.0), 60.0)
    np.testing.assert_allclose(squares("mean_with_sample_weight", 2.0), 7.5)


def test_weights_fit_the_leading_axes():
    target, prediction = np.zeros((3, 3, 2)), RNG.normal(size=(3, 3, 2))
    values = (prediction**2).mean(-1)
    weights = np.array([1.0, 2.0, 3.0])
    loss = losses.MeanSquaredError(reduction="none", dtype="float64")
    result = loss(target, prediction, weights).numpy()
    np.testing.assert_allclose(result, values * weights[:, None])
    per_step = RNG.uniform(size=(3, 3))
    np.testing.assert_allclose(loss(target, prediction, per_step).numpy(), values * per_step)


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 1, 1)])
def test_weights_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"sample_weight has shape .* values of shape \(4,\)"):
        squares("mean", np.ones(shape))


def test_empty_batch_is_zero():
    assert float(losses.MeanSquaredError()(np.zeros((0, 3)), np.zeros((0, 3)))) == 0.0
    weighted = losses.MeanSquaredError()(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    assert float(weighted) == 0.0


# -- shapes, dtypes and what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    ("true_shape", "pred_shape"), [((4,), (4, 1)), ((4, 1), (4,)), ((2, 3, 1), (2, 3))]
)
def test_ranks_that_differ_by_an_axis_of_one(true_shape, pred_shape):
    target, prediction = RNG.normal(size=true_shape), RNG.normal(size=pred_shape)
    loss = losses.MeanSquaredError(dtype="float64")(target, prediction)
    expected = ((target.reshape(-1) - prediction.reshape(-1)) ** 2).mean()
    np.testing.assert_allclose(loss.numpy(), expected)


@pytest.mark.parametrize(
    ("loss", "true_shape", "pred_shape", "message"),
    [
        (
            losses.CategoricalCrossentropy(),
            (32,),
            (32, 10),
            r"categorical_crossentropy: y_true has shape \(32,\) and y_pred has shape \(32, 10\)"
            r".*use the loss 'sparse_categorical_crossentropy', or encode them with "
            r"utils.to_categorical\(y_true, 10\)",
        ),
        (losses.MeanSquaredError(), (32, 1), (32, 10), "the last layer should have 1 unit"),
        (losses.MeanSquaredError(), (32, 3), (32, 10), "Give the last layer 3 units"),
        (losses.BinaryCrossentropy(), (31, 1), (32, 1), "the batch, differ"),
        (losses.MeanAbsoluteError(), (32, 4), (32, 2, 2), "is a Flatten missing"),
    ],
)
def test_shapes_that_do_not_fit(loss, true_shape, pred_shape, message):
    with pytest.raises(ValueError, match=message):
        loss(np.zeros(true_shape), np.full(pred_shape, 0.5))


@pytest.mark.parametrize(
    ("true_shape", "message"),
    [
        (
            (32, 10),
            r"y_true has shape \(32, 10\) and y_pred has shape \(32, 10\).*labels for these "
            r"predictions have shape \(32,\).*use the loss 'categorical_crossentropy'",
        ),
        ((31,), "the batch, differ"),
        ((32, 4), "is a Flatten missing|Is an axis missing"),
    ],
)
def test_labels_that_do_not_fit(true_shape, message):
    with pytest.raises(ValueError, match=message):
        losses.SparseCategoricalCrossentropy()(np.zeros(true_shape, int), np.full((32, 10), 0.1))


def test_label_out_of_range():
    with pytest.raises(ValueError, match="label"):
        losses.SparseCategoricalCrossentropy(from_logits=True)([0, 3], np.zeros((2, 3)))


def test_dtype_follows_the_predictions():
    target = np.zeros((2, 1))
    loss = losses.MeanSquaredError()
    assert loss(target, np.zeros((2, 1))).dtype == "float32"
    assert loss(target, ad.tensor(np.zeros((2, 1)))).dtype == "float64"
    assert loss(target, ad.tensor(np.zeros((2, 1), "int64"))).dtype == "float32"
    assert losses.MeanSquaredError(dtype="float64")(target, ad.zeros((2, 1))).dtype == "float64"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="average"), "Unknown loss reduction 'average'"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=2.0), r"label_smoothing in \[0, 1\]"),
        (lambda: losses.get("mean_square_error"), "Did you mean 'mean_squared_error'?"),
        (lambda: losses.get("CategoricalCrosentropy"), "Did you mean 'CategoricalCrossentropy'?"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- user-written losses, names, configuration ---------------------------------------------------


def test_loss_as_a_class():
    class Weighted(losses.Loss):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, y_true, y_pred):
            return self.factor * ad.ops.mean(ad.ops.square(y_pred - y_true), axis=-1)

    loss = Weighted(3.0, name="weighted")
    assert loss.name == "weighted"
    assert float(loss([[0], [0]], [[1.0], [2.0]])) == 7.5
    with pytest.raises(NotImplementedError, match="Loss must override `call"):
        losses.Loss()([[0.0]], [[0.0]])


def test_loss_as_a_function():
    def error(y_true, y_pred, power=1):
        assert y_true.shape == y_pred.shape
        return ad.ops.mean(ad.ops.abs(y_true - y_pred) ** power, axis=-1)

    loss = losses.LossFunctionWrapper(error, power=2)
    assert loss.name == "error"
    assert float(loss(np.zeros(2), [[1.0], [2.0]])) == 2.5


def test_get():
    assert losses.get(None) is None
    assert losses.get("mse") is losses.mean_squared_error
    assert losses.get("sparse_categorical_crossentropy") is losses.sparse_categorical_crossentropy
    assert isinstance(losses.get("Huber"), losses.Huber)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    loss = losses.Huber()
    assert losses.get(loss) is loss
    assert losses.get(len) is len
    config = {"class_name": "CategoricalCrossentropy", "config": {"from_logits": True}}
    assert losses.get(config).get_config()["from_logits"] is True
    with pytest.raises(TypeError, match="Cannot interpret 3"):
        losses.get(3)


def test_aliases():
    assert losses.MSE is losses.mse is losses.mean_squared_error
    assert losses.MAE is losses.mae is losses.mean_absolute_error
    assert losses.KLD is losses.kld is losses.kl_divergence
    assert losses.BCE is losses.bce is losses.binary_crossentropy


@pytest.mark.parametrize(
    "loss",
    [
        losses.MeanSquaredError(reduction="sum", name="mine"),
        losses.MeanAbsoluteError(dtype="float64"),
        losses.Huber(delta=0.5),
        losses.LogCosh(),
        losses.Hinge(),
        losses.KLDivergence(),
        losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1, axis=1),
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
    ],
    ids=repr,
)
def test_configuration_makes_a_round_trip(loss):
    config = losses.serialize(loss)
    again = losses.deserialize(config)
    assert type(again) is type(loss)
    assert losses.serialize(again) == config


def test_no_warning_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss, activation, target in fused_cases():
            loss(target, activation(ad.tensor(RNG.normal(size=(5, 4)))))
