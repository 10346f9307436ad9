"""The arithmetic of sliding windows: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence

from autodan.utils.naming import lookup


def check_padding(padding: str) -> str:
    """Return "valid" or "same" in lower case.

    Raises:
        ValueError: the padding has another name.

    >>> check_padding("SAME")
    'same'
    """
    name = padding.lower() if isinstance(padding, str) else padding
    return lookup("padding", name, {"valid": "valid", "same": "same"})


def windowed_side(
    side: int | None, window: int, stride: int, padding: str, dilation: int = 1
) -> int | None:
    """Return how many windows fit along one side; 0 or less if none does.

    >>> windowed_side(28, 3, 1, "valid"), windowed_side(5, 2, 2, "same")
    (26, 3)
    """
    if side is None:
        return None
    if padding == "same":
        return -(-side // stride)
    return (side - (window - 1) * dilation - 1) // stride + 1


def windowed_shape(
    owner: str,
    input_shape: Sequence[int | None],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation: tuple[int, int] = (1, 1),
    channels: int | None = None,
) -> tuple[int | None, ...]:
    """Return the shape of the images after a convolution or pooling.

    Args:
        owner: Who asks, for messages.
        input_shape: Four sides, the batch first.
        window: Height and width of the window.
        strides: Its steps.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
        dilation: Distance of the window's taps.
        channels: Number of output channels. Default: that of the input.

    Raises:
        ValueError: the input has no four sides, or is smaller than the window.

    >>> windowed_shape("pool", (None, 28, 28, 1), (3, 3), (1, 1), "valid", "channels_last")
    (None, 26, 26, 1)
    """
    if len(input_shape) != 4:
        raise ValueError(
            f"{owner} needs images with 4 dimensions. Received input shape {tuple(input_shape)}. "
            "Add the missing axis, for example with x[..., None]."
        )
    last = data_format == "channels_last"
    sides = input_shape[1:3] if last else input_shape[2:4]
    out = tuple(
        windowed_side(side, size, step, padding, rate)
        for side, size, step, rate in zip(sides, window, strides, dilation, strict=True)
    )
    if any(side is not None and side < 1 for side in out):
        raise ValueError(
            f"{owner}: a window of {window} with dilation {dilation} is larger than the input of "
            f'shape {tuple(input_shape)}. Use padding="same", a smaller window, or less pooling '
            "before this layer."
        )
    depth = channels if channels is not None else input_shape[-1 if last else 1]
    return (input_shape[0], *out, depth) if last else (input_shape[0], depth, *out)
