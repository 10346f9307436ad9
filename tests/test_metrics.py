"""Metrics streamed over batches against NumPy on all samples at once."""

from __future__ import annotations

import numpy as np
import pytest

import autodan as ad
from autodan import losses, metrics

RNG = np.random.default_rng(0)
SAMPLES, CLASSES, BATCH = 23, 4, 5  # the last batch is a partial one


def batches(*arrays):
    for start in range(0, SAMPLES, BATCH):
        yield tuple(None if a is None else a[start : start + BATCH] for a in arrays)


def stream(metric, y_true, y_pred, weights=None):
    for true, pred, weight in batches(y_true, y_pred, weights):
        assert metric.update_state(true, ad.tensor(pred), weight) is None
    result = metric.result()
    assert (result.shape, result.dtype) == ((), metric.dtype)
    return float(result)


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def top_k(labels, p, k):
    return np.array([label in np.argsort(-row)[:k] for label, row in zip(labels, p, strict=True)])


LABELS = RNG.integers(0, CLASSES, size=SAMPLES)
ONE_HOT = np.eye(CLASSES)[LABELS]
P = softmax(2 * RNG.normal(size=(SAMPLES, CLASSES)))
YES_NO = RNG.integers(0, 2, size=(SAMPLES, 3))
Q = RNG.uniform(0.01, 0.99, size=(SAMPLES, 3))
X, Y = RNG.normal(size=(2, SAMPLES, 3))
RIGHT = P.argmax(-1) == LABELS
# Metric, targets, predictions, the expected value of every sample.
CASES = [
    (metrics.SparseCategoricalAccuracy, LABELS, P, RIGHT),
    (metrics.SparseCategoricalAccuracy, LABELS[:, None].astype("uint8"), P, RIGHT),
    (metrics.SparseCategoricalAccuracy, LABELS.astype("float32"), P, RIGHT),
    (metrics.CategoricalAccuracy, ONE_HOT, P, RIGHT),
    (metrics.BinaryAccuracy, YES_NO, Q, ((Q > 0.5) == YES_NO).mean(-1)),
    (metrics.BinaryAccuracy, YES_NO[:, 0], Q[:, :1], (Q[:, 0] > 0.5) == YES_NO[:, 0]),
    (metrics.Accuracy, LABELS[:, None], P.argmax(-1)[:, None], RIGHT),
    (lambda: metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, P, top_k(LABELS, P, 2)),
    (lambda: metrics.SparseTopKCategoricalAccuracy(k=3), LABELS, P, top_k(LABELS, P, 3)),
    (metrics.MeanSquaredError, X, Y, ((X - Y) ** 2).mean(-1)),
    (metrics.MeanAbsoluteError, X, Y, np.abs(X - Y).mean(-1)),
    (metrics.BinaryCrossentropy, YES_NO, Q, -np.log(np.where(YES_NO, Q, 1 - Q)).mean(-1)),
    (metrics.CategoricalCrossentropy, ONE_HOT, P, -np.log(P[np.arange(SAMPLES), LABELS])),
    (metrics.SparseCategoricalCrossentropy, LABELS, P, -np.log(P[np.arange(SAMPLES), LABELS])),
    (metrics.KLDivergence, P, P[:, ::-1], (P * np.log(P / P[:, ::-1])).sum(-1)),
    (metrics.Hinge, np.sign(X), Y, np.maximum(1 - np.sign(X) * Y, 0).mean(-1)),
]


@pytest.mark.parametrize(("make", "y_true", "y_pred", "values"), CASES)
def test_streaming(make, y_true, y_pred, values):
    assert stream(make(), y_true, y_pred) == pytest.approx(values.mean(), rel=1e-5)


@pytest.mark.parametrize(("make", "y_true", "y_pred", "values"), CASES)
def test_streaming_with_weights(make, y_true, y_pred, values):
    weights = RNG.uniform(size=SAMPLES)
    expected = np.average(values, weights=weights)
    metric = make()
    assert stream(metric, y_true, y_pred, weights) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert stream(metric, y_true, y_pred, weights[:, None]) == pytest.approx(expected, rel=1e-5)


def test_root_mean_squared_error():
    metric = metrics.RootMeanSquaredError()
    assert stream(metric, X, Y) == pytest.approx(np.sqrt(((X - Y) ** 2).mean()), rel=1e-5)


def test_labels_of_every_pixel():
    labels, logits = RNG.integers(0, 3, (4, 5, 6)), RNG.normal(size=(4, 5, 6, 3))
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(labels, logits)
    assert float(metric.result()) == pytest.approx((labels == logits.argmax(-1)).mean())


def test_top_k_counts_ties_and_refuses_infinity():
    tie = metrics.sparse_top_k_categorical_accuracy([0, 1, 2], [[1.0, 1.0, 0.0]] * 3, k=1)
    assert tie.numpy().tolist() == [1.0, 1.0, 0.0]
    scores = [[np.nan, 1.0], [np.inf, 1.0], [1.0, np.inf]]
    values = metrics.sparse_top_k_categorical_accuracy([0, 0, 1], scores, k=1)
    assert values.numpy().tolist() == [0.0, 0.0, 0.0]


# -- sums and means ------------------------------------------------------------------------------


def test_sum():
    metric = metrics.Sum()
    metric.update_state([[1.0, 2.0], [3.0, 4.0]])
    metric.update_state([1.0, 1.0], sample_weight=[0.5, 0.0])
    metric.update_state(2, sample_weight=3)
    assert float(metric.result()) == 16.5
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_mean_of_samples_of_several_values():
    metric = metrics.Mean()
    metric.update_state([[1.0, 3.0], [5.0, 7.0]])
    metric.update_state([[9.0]])
    assert float(metric.result()) == pytest.approx((2 + 6 + 9) / 3)


def test_mean_of_scalars_weighs_by_a_number():
    metric = metrics.Mean(name="loss")
    metric.update_state(ad.tensor(1.0), sample_weight=32)
    metric.update_state(ad.tensor(4.0), sample_weight=16)
    metric.update_state(0.0)
    assert float(metric.result()) == pytest.approx((32 + 64) / 49)


def test_mean_of_nothing_is_zero():
    metric = metrics.Mean()
    assert float(metric.result()) == 0.0
    metric.update_state([1.0, 2.0], sample_weight=[0.0, 0.0])
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros((0, 3)))
    assert float(metric.result()) == 0.0


def test_counts_go_beyond_what_float32_can_count():
    metric = metrics.Mean()
    metric.update_state(1.0, sample_weight=2**24)
    for _ in range(8):
        metric.update_state(1.0)
    assert int(metric.count) == 2**24 + 8


def test_calling_updates_and_returns_the_result():
    metric = metrics.Mean()
    assert float(metric([1.0, 3.0])) == 2.0
    assert float(metric([8.0])) == 4.0


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\)"):
        metrics.Mean().update_state(np.ones(4), sample_weight=np.ones(3))


def test_state_is_not_recorded_for_differentiation():
    w = ad.Variable([[1.0]])
    metric = metrics.MeanSquaredError()
    metric.update_state([[0.0]], w * 2.0)
    assert not metric.result().requires_grad
    ad.ops.sum(w).backward()
    assert w.grad.numpy().tolist() == [[1.0]]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "true_shape", "message"),
    [
        (
            metrics.SparseCategoricalAccuracy(),
            (4, 4),
            r"sparse_categorical_accuracy: y_true has shape \(4, 4\) and y_pred has shape "
            r"\(4, 4\).*use the metric 'categorical_accuracy'",
        ),
        (metrics.CategoricalAccuracy(), (4,), "categorical_accuracy: y_true has shape"),
        (metrics.BinaryAccuracy(), (4, 2), "binary_accuracy: y_true has shape"),
        (metrics.SparseTopKCategoricalAccuracy(), (4, 4), "'top_k_categorical_accuracy'"),
    ],
)
def test_shapes_that_do_not_fit(metric, true_shape, message):
    with pytest.raises(ValueError, match=message):
        metric.update_state(np.zeros(true_shape), np.zeros((4, 4)))
    assert float(metric.count) == 0.0


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("acuracy", "accuracy"), ("MeanSquareError", "MeanSquaredError"), ("mse_", "mse")],
)
def test_misspelt_names(name, nearest):
    with pytest.raises(ValueError, match=f"Unknown metric '{name}'. Did you mean '{nearest}'?"):
        metrics.get(name)


def test_threshold():
    metric = metrics.BinaryAccuracy(threshold=0.9)
    metric.update_state([[1], [0]], [[0.8], [0.8]])
    assert float(metric.result()) == 0.5
    with pytest.raises(ValueError, match=r"threshold in \(0, 1\). Received: threshold=1.5"):
        metrics.BinaryAccuracy(threshold=1.5)


# -- user-written metrics, names, configuration --------------------------------------------------


class CategoricalTruePositives(metrics.Metric):
    """The example of Keras's guide "Customizing training and evaluation"."""

    def __init__(self, name="categorical_true_positives", **kwargs):
        super().__init__(name=name, **kwargs)
        self.true_positives = self.add_variable(shape=(), name="ctp", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = ad.ops.reshape(ad.ops.argmax(y_pred, axis=1), (-1, 1))
        values = ad.ops.cast(y_true, "int32") == ad.ops.cast(y_pred, "int32")
        values = ad.ops.cast(values, "float32")
        if sample_weight is not None:
            sample_weight = ad.ops.cast(sample_weight, "float32")
            values = ad.ops.multiply(values, sample_weight)
        self.true_positives.assign_add(ad.ops.sum(values))

    def result(self):
        return self.true_positives.value

    def reset_state(self):
        self.true_positives.assign(0.0)


def test_metric_of_the_guide():
    metric = CategoricalTruePositives()
    for true, pred in batches(LABELS[:, None], P):
        metric.update_state(true, ad.tensor(pred))
    assert float(metric.result()) == RIGHT.sum()
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert [v.path for v in metric.variables] == ["categorical_true_positives/ctp"]


def test_older_spelling_and_inner_metrics():
    class Spread(metrics.Metric):
        def __init__(self):
            super().__init__(name="spread")
            self.largest = self.add_weight(name="largest", initializer="ones")
            self.mean = metrics.Mean()
            self.own = ad.Variable([1.0, 2.0], trainable=False)

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.largest.assign(ad.ops.maximum(self.largest, ad.ops.max(y_pred)))
            self.mean.update_state(y_pred)

        def result(self):
            return self.largest - self.mean.result()

    metric = Spread()
    assert float(metric.largest) == 1.0
    metric.update_state(None, ad.tensor([2.0, 6.0]))
    assert float(metric.result()) == 2.0
    assert len(metric.variables) == 4
    metric.reset_state()
    assert not any(v.numpy().any() for v in metric.variables)


def test_plain_function():
    def bias(y_true, y_pred):
        return ad.ops.mean(y_pred - y_true, axis=-1)

    metric = metrics.get(bias)
    assert metric.name == "bias"
    assert stream(metric, X, Y) == pytest.approx((Y - X).mean(), abs=1e-6)


def test_function_with_arguments():
    def error(y_true, y_pred, power):
        return ad.ops.mean(ad.ops.abs(y_pred - y_true) ** power, axis=-1)

    metric = metrics.MeanMetricWrapper(error, name="cubed", power=3)
    assert metric.name == "cubed"
    assert stream(metric, X, Y) == pytest.approx((np.abs(X - Y) ** 3).mean(), rel=1e-5)


def test_forgotten_super():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.total = self.add_variable(())

    with pytest.raises(RuntimeError, match=r"Forgetful: call `super\(\).__init__\(\)` first"):
        Forgetful()


def test_unfinished_metric():
    with pytest.raises(NotImplementedError, match="Metric must override `update_state`"):
        metrics.Metric().update_state()
    with pytest.raises(NotImplementedError, match="Metric must override `result"):
        metrics.Metric().result()


def test_get():
    assert metrics.get(None) is None
    assert isinstance(metrics.get("mse"), metrics.MeanSquaredError)
    assert isinstance(metrics.get("sparse_categorical_accuracy"), metrics.SparseCategoricalAccuracy)
    assert isinstance(metrics.get("kl_divergence"), metrics.KLDivergence)
    assert isinstance(metrics.get("acc"), metrics.Accuracy)
    assert isinstance(metrics.get(metrics.Mean), metrics.Mean)
    assert metrics.get(losses.huber).name == "huber"
    metric = metrics.Mean()
    assert metrics.get(metric) is metric
    with pytest.raises(TypeError, match="Cannot interpret 3"):
        metrics.get(3)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Mean(name="mine", dtype="float64"),
        metrics.Sum(),
        metrics.Accuracy(),
        metrics.BinaryAccuracy(threshold=0.25),
        metrics.TopKCategoricalAccuracy(k=3),
        metrics.RootMeanSquaredError(),
        metrics.CategoricalCrossentropy(label_smoothing=0.25, axis=1),
        metrics.SparseCategoricalCrossentropy(from_logits=True),
    ],
    ids=repr,
)
def test_configuration_makes_a_round_trip(metric):
    config = metrics.serialize(metric)
    again = metrics.deserialize(config)
    assert type(again) is type(metric)
    assert metrics.serialize(again) == config
    assert again.dtype == metric.dtype
