"""Layers written out in NumPy from their formulas, and gradients by central differences."""

from __future__ import annotations

import numpy as np

from autodan import _core


def side_windows(side, window, stride, padding, dilation=1):
    """Return how many windows fit on a side, and how much padding stands before and after it."""
    reach = (window - 1) * dilation + 1
    if padding == "valid":
        return (side - reach) // stride + 1, 0, 0
    count = -(-side // stride)
    total = max((count - 1) * stride + reach - side, 0)
    return count, total // 2, total - total // 2


def padded_windows(x, window, strides, padding, dilation=(1, 1), fill=0.0):
    """Yield (i, j, values (N, window height, window width, C)) for images (N, H, W, C)."""
    (rows, top, bottom), (columns, left, right) = (
        side_windows(x.shape[1 + a], window[a], strides[a], padding, dilation[a]) for a in (0, 1)
    )
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    x = np.pad(x, edges, constant_values=fill)
    for i in range(rows):
        for j in range(columns):
            down = i * strides[0] + np.arange(window[0]) * dilation[0]
            along = j * strides[1] + np.arange(window[1]) * dilation[1]
            yield i, j, x[:, down][:, :, along]


def conv2d(x, kernel, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1):
    """Sum kernel times window, group by group."""
    height, width, depth, filters = kernel.shape
    share = filters // groups
    outputs = {}
    for i, j, window in padded_windows(x, (height, width), strides, padding, dilation):
        values = np.empty((len(x), filters))
        for g in range(groups):
            taps = window[..., g * depth : (g + 1) * depth]
            weights = kernel[..., g * share : (g + 1) * share]
            values[:, g * share : (g + 1) * share] = np.einsum("nhwc,hwcf->nf", taps, weights)
        outputs[i, j] = values
    return assembled(outputs)


def max_pool(x, window, strides, padding):
    """Take the maximum of each window."""
    found = padded_windows(x, window, strides, padding, fill=-np.inf)
    return assembled({(i, j): values.max((1, 2)) for i, j, values in found})


def average_pool(x, window, strides, padding):
    """Take the mean of what each window covers of the image."""
    found = padded_windows(x, window, strides, padding, fill=np.nan)
    return assembled({(i, j): np.nanmean(values, (1, 2)) for i, j, values in found})


def assembled(outputs):
    """Put values (N, C) at (i, j) together as images (N, H, W, C)."""
    rows = 1 + max(i for i, _ in outputs)
    columns = 1 + max(j for _, j in outputs)
    return np.stack(
        [np.stack([outputs[i, j] for j in range(columns)], axis=1) for i in range(rows)], axis=1
    )


def batch_norm(x, axis, mean, variance, gamma=1.0, beta=0.0, epsilon=1e-3):
    """Normalize with the given statistics of one axis."""
    sides = [1] * x.ndim
    sides[axis] = x.shape[axis]
    mean, variance, gamma, beta = (
        np.broadcast_to(values, x.shape[axis]).reshape(sides)
        for values in (mean, variance, gamma, beta)
    )
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def check_weight_gradients(layer, x, **arguments):
    """Compare the gradients of all trained weights and of the input with central differences."""
    x = np.asarray(x, "float64")
    probe = np.random.default_rng(5).normal(size=layer(x, **arguments).shape)

    def value(inputs):
        return _core.sum(layer(inputs, **arguments) * probe)

    source = _core.tensor(x, requires_grad=True)
    variables = layer.trainable_variables
    gradients = _core.grad(value(source), [source, *variables])

    def numeric(array, at):
        result = np.empty_like(array)
        for index in np.ndindex(*array.shape):
            sides = []
            for step in (1e-5, -1e-5):
                shifted = array.copy()
                shifted[index] += step
                sides.append(at(shifted))
            result[index] = (sides[0] - sides[1]) / 2e-5
        return result

    def at_weight(variable):
        def at(values):
            before = variable.numpy().copy()
            variable.assign(values)
            result = float(value(x))
            variable.assign(before)
            return result

        return at

    expected = [numeric(x, lambda values: float(value(values)))]
    expected += [numeric(np.array(v.numpy()), at_weight(v)) for v in variables]
    assert len(gradients) == len(expected)
    for gradient, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient.numpy(), reference, rtol=1e-5, atol=1e-7)
