"""The optimizer steps of the core, by their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import autodan as ad
from autodan import _core


def test_sgd_update():
    for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        w, v = ad.Variable([1.0, 2.0]), ad.Variable([0.5, -0.5])
        g = np.array([0.1, 0.2])
        _core.sgd_update([w], [g], [v], 0.1, momentum, nesterov)
        velocity = momentum * np.array([0.5, -0.5]) - 0.1 * g
        step = momentum * velocity - 0.1 * g if nesterov else velocity
        np.testing.assert_allclose(w.numpy(), np.array([1.0, 2.0]) + step, rtol=1e-6)
        np.testing.assert_allclose(v.numpy(), velocity, rtol=1e-6)


def test_adam_update():
    w, m, s = ad.Variable([1.0]), ad.Variable([0.2]), ad.Variable([0.3])
    _core.adam_update([w], [[0.5]], [m], [s], 0.01, 0.9, 0.99, 1e-7, 3)
    m1, s1 = 0.9 * 0.2 + 0.1 * 0.5, 0.99 * 0.3 + 0.01 * 0.25
    alpha = 0.01 * math.sqrt(1 - 0.99**3) / (1 - 0.9**3)
    np.testing.assert_allclose(w.numpy(), [1.0 - alpha * m1 / (math.sqrt(s1) + 1e-7)], rtol=1e-6)
    np.testing.assert_allclose([m.numpy()[0], s.numpy()[0]], [m1, s1], rtol=1e-6)


def test_updates_check_before_they_write():
    w, v = ad.Variable([1.0, 2.0]), ad.Variable([3.0])
    with pytest.raises(ValueError, match=r"\(2,\)|\(1,\)"):
        _core.sgd_update([v, w], [[1.0], [1.0]], None, 0.1)
    with pytest.raises(ValueError, match="2 variables but 1 gradients"):
        _core.sgd_update([v, w], [[1.0]], None, 0.1)
    with pytest.raises(TypeError, match="list of Variables"):
        _core.sgd_update([ad.ones((1,))], [[1.0]], None, 0.1)
    assert (w.tolist(), v.tolist()) == ([1.0, 2.0], [3.0])


def test_global_norm():
    tensors = [ad.tensor([3.0]), ad.tensor([[0.0, 4.0]]), ad.zeros((0,))]
    norm = _core.global_norm(tensors)
    assert (norm.shape, norm.dtype, float(norm)) == ((), "float32", 5.0)
    assert float(_core.global_norm([])) == 0.0
    assert np.isnan(float(_core.global_norm([ad.tensor([np.nan])])))
