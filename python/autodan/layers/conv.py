"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autodan import _core, activations, initializers, ops, regularizers
from autodan._core import Tensor, Variable
from autodan.config import standardize_data_format
from autodan.layers.input_spec import InputSpec, Shape
from autodan.layers.layer import Layer
from autodan.ops.window import check_padding, windowed_shape
from autodan.utils.arguments import pair, positive_integer


class Conv2D(Layer):
    """Convolve images with learned kernels (Keras `Conv2D`).

    Input: shape (N, H, W, C), or (N, C, H, W) for "channels_first"; output: the same with the
    windows' rows and columns, and `filters` channels.

    Args:
        filters: Number of output channels, 1 or more.
        kernel_size: Height and width of the kernel: an integer or two.
        strides: Step of the window. Default (1, 1).
        padding: "valid" (none, default) or "same" (output side is ceil(side / stride)).
        data_format: "channels_last" or "channels_first". Default: `image_data_format()`.
        dilation_rate: Distance of the kernel's taps. Default (1, 1).
        groups: Number of groups that channels and filters are divided into. Default 1.
        activation: Activation, or its name. Default: none.
        use_bias: Whether a bias is added. Default True.
        kernel_initializer: For the kernel, shape (kh, kw, C / groups, filters). Default
            "glorot_uniform".
        bias_initializer: For the bias, shape (filters,). Default "zeros".
        kernel_regularizer: Penalty on the kernel. Default: none.
        bias_regularizer: Penalty on the bias. Default: none.
        activity_regularizer: Penalty on the output. Default: none.
        kwargs: What `Layer` takes: name, trainable, dtype, input_shape.

    Raises:
        ValueError: a number is not positive, `groups` does not divide the channels, strides and
            dilation are both above 1, or a name is unknown.

    >>> import autodan as ad
    >>> layer = ad.layers.Conv2D(4, 3, padding="same", strides=2)
    >>> layer(ad.zeros((1, 5, 5, 3))).shape
    (1, 3, 3, 4)
    """

    _casts_integers = True

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = positive_integer("Conv2D", "filters", filters)
        self.groups = positive_integer("Conv2D", "groups", groups)
        if filters % groups:
            raise ValueError(
                f"Conv2D: `groups` must divide `filters`. Received: filters={filters}, "
                f"groups={groups}."
            )
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        self.dilation_rate = pair(dilation_rate, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Conv2D: strides and dilation_rate cannot both be above 1. Received: "
                f"strides={self.strides}, dilation_rate={self.dilation_rate}."
            )
        self.padding = check_padding(padding)
        self.data_format = standardize_data_format(data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias: Variable | None = None
        self.input_spec = InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        """Create kernel and bias."""
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"the number of channels (axis {axis}) of the input must be known. Received "
                f"input shape {tuple(input_shape)}."
            )
        if channels % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide the {channels} channels of the input of shape "
                f"{tuple(input_shape)}."
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                name="bias",
            )
        self.input_spec = InputSpec(ndim=4, axes={axis: channels})

    def call(self, inputs: Tensor, max_pool: bool = False) -> Tensor:
        """Return the output.

        Args:
            inputs: Images.
            max_pool: Whether to return only the maximum of each 2 x 2 window of the output; in the
                same pass for the layers that `layers.fusion` names. Default False.
        """
        if self.bias is not None and self.data_format == "channels_last":
            name, rest = activations.split(self.activation)
            window = self.strides, self.padding, self.dilation_rate, self.groups
            if max_pool and rest is None and name in ("linear", "relu"):
                return _core.conv2d_max_pool(inputs, self.kernel, self.bias, *window, name)
            y = _core.conv2d_bias(inputs, self.kernel, self.bias, *window, name)
            y = y if rest is None else rest(y)
        else:
            y = ops.conv(
                inputs,
                self.kernel,
                self.strides,
                self.padding,
                self.data_format,
                self.dilation_rate,
            )
            y = self.activation(y if self.bias is None else y + ops.reshape(self.bias, (-1, 1, 1)))
        return ops.max_pool(y, 2, data_format=self.data_format) if max_pool else y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape.

        Raises:
            ValueError: the kernel is larger than the image.
        """
        return windowed_shape(
            f"Layer '{self.name}' (Conv2D)",
            input_shape,
            self.kernel_size,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
            self.filters,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


Convolution2D = Conv2D
