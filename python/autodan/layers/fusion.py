"""Layers that are computed together when they follow each other."""

from __future__ import annotations

from autodan import activations
from autodan.layers.conv import Conv2D
from autodan.layers.input_spec import Shape
from autodan.layers.layer import Layer
from autodan.layers.pooling import MaxPooling2D


def pools_at_once(first: Layer, second: Layer, between: Shape) -> bool:
    """Return whether `first(x, max_pool=True)` is `second(first(x))`.

    A convolution's output is four times as large as what pooling by 2 x 2 keeps of it: computed
    in one pass, it never goes to memory. Whatever sees it (a regularizer of the output, a `call`
    of the caller's own) keeps the layers apart.

    Args:
        first: A layer.
        second: The layer after it.
        between: Shape of the first's output with the batch axis.

    >>> import autodan as ad
    >>> conv, pool = ad.layers.Conv2D(4, 3, activation="relu"), ad.layers.MaxPooling2D()
    >>> model = ad.Sequential([ad.Input((8, 8, 1)), conv, pool])
    >>> pools_at_once(conv, pool, (None, 6, 6, 4)), pools_at_once(pool, conv, (None, 4, 4, 1))
    (True, False)
    """
    return (
        type(first) is Conv2D
        and type(second) is MaxPooling2D
        and first.built
        and second.built
        and "call" not in vars(first)
        and "call" not in vars(second)
        and first.bias is not None
        and (first.activation is activations.linear or first.activation is activations.relu)
        and first.activity_regularizer is None
        and second.activity_regularizer is None
        and first.data_format == second.data_format == "channels_last"
        and second.pool_size == second.strides == (2, 2)
        and second.padding == "valid"
        and first.autocast
        and first.dtype == second.dtype
        and first.dtype.startswith("float")
        # Other sides are for the layers to refuse, each by its name.
        and all(side is not None and side >= 2 for side in between[1:3])
    )
