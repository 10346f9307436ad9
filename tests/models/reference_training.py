"""A dense classifier and its training, written out in NumPy."""

from __future__ import annotations

import numpy as np


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Classifier:
    """tanh(x W1 + b1) W2 + b2, trained on the crossentropy of class numbers.

    Args:
        weights: W1, b1, W2, b2.
        update: `update(weight, gradient, slots, step)` returns the new weight; slots is a dict.
        penalty: Factor of the sum of squares of W1.
    """

    def __init__(self, weights, update, penalty=0.0):
        self.weights = [w.astype("float64") for w in weights]
        self.slots = [{} for _ in weights]
        self.update = update
        self.penalty = penalty
        self.steps = 0

    def probabilities(self, x):
        w1, b1, w2, b2 = self.weights
        return softmax(np.tanh(x @ w1 + b1) @ w2 + b2)

    def loss(self, x, y):
        picked = self.probabilities(x)[np.arange(len(x)), y]
        return -np.log(picked).mean() + self.penalty * (self.weights[0] ** 2).sum()

    def step(self, x, y, sample_weight=None):
        """Update the weights by the gradient of the mean loss of a batch."""
        w1, b1, w2, _ = self.weights
        hidden = np.tanh(x @ w1 + b1)
        error = self.probabilities(x) - np.eye(w2.shape[1])[y]
        if sample_weight is not None:
            error = error * sample_weight[:, None]
        error /= len(x)
        below = error @ w2.T * (1 - hidden**2)
        gradients = [
            x.T @ below + 2 * self.penalty * w1,
            below.sum(0),
            hidden.T @ error,
            error.sum(0),
        ]
        self.steps += 1
        self.weights = [
            self.update(w, g, slots, self.steps)
            for w, g, slots in zip(self.weights, gradients, self.slots, strict=True)
        ]


def sgd(learning_rate, momentum=0.0):
    def update(w, g, slots, step):
        slots["v"] = momentum * slots.get("v", 0.0) - learning_rate * g
        return w + slots["v"]

    return update


def adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    def update(w, g, slots, step):
        slots["m"] = beta_1 * slots.get("m", 0.0) + (1 - beta_1) * g
        slots["v"] = beta_2 * slots.get("v", 0.0) + (1 - beta_2) * g * g
        alpha = learning_rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        return w - alpha * slots["m"] / (np.sqrt(slots["v"]) + epsilon)

    return update
