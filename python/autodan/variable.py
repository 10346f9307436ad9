"""Variables: named cells that hold a tensor and that optimizers rebind (Keras `Variable`).

A `Variable` is a `Tensor` for every operator and function. It differs in that it has a name, a
`trainable` flag and can be assigned:

>>> import autodan as ad
>>> v = ad.Variable([1.0, 2.0], name="v")
>>> _ = v.assign_add([10.0, 20.0])
>>> v.numpy().tolist(), v.name, v.trainable
([11.0, 22.0], 'v', True)
"""

from __future__ import annotations

from autodan._core import Variable

__all__ = ["Variable"]
