"""What the kernels of a program do, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAMILIES", "Meaning", "meaning"]

CONVOLUTION, POOLING, MATRIX, ACTIVATION = "convolution", "pooling", "matrix product", "activation"
LOSS, NORMALIZATION, REDUCTION = "softmax and loss", "normalization", "reduction"
ELEMENTWISE, RANDOM, MOVING = "elementwise", "random numbers", "moving data"
OPTIMIZER, OTHER = "optimizer", "other"

# In the order of a picture's legend.
FAMILIES = (
    CONVOLUTION,
    POOLING,
    MATRIX,
    ACTIVATION,
    NORMALIZATION,
    LOSS,
    REDUCTION,
    ELEMENTWISE,
    RANDOM,
    MOVING,
    OPTIMIZER,
    OTHER,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kernel does.

    Args:
        title: Its name for readers.
        family: One of `FAMILIES`.
        parts: What it computes, one entry for each op that it stands for; none if unknown.
    """

    title: str
    family: str
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The parts in one line."""
        return " + ".join(self.parts)

    @property
    def fused(self) -> bool:
        """Whether it does the work of several ops in one pass."""
        return len(self.parts) > 1


# By the part of the core's name before the bracket; {} is what stands inside of it. "_" for a title
# keeps the name.
_KERNELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Conv2d": ("_", CONVOLUTION, ("convolution",)),
    "BiasedConv2d": ("_", CONVOLUTION, ("convolution", "bias", "activation")),
    "ConvPool": ("_", CONVOLUTION, ("convolution", "bias", "activation", "2 x 2 max pooling")),
    "ConvPoolBackward": (
        "_",
        POOLING,
        ("gradient of max pooling", "gradient of the activation", "gradient of the bias"),
    ),
    "ConvPoolBackwardWeights": (
        "_",
        CONVOLUTION,
        (
            "gradient of max pooling",
            "gradient of the activation",
            "gradient of a convolution's kernel",
            "gradient of the bias",
        ),
    ),
    "Conv2dBackwardData": ("_", CONVOLUTION, ("gradient of a convolution's input",)),
    "Conv2dBackwardWeights": ("_", CONVOLUTION, ("gradient of a convolution's kernel",)),
    "MaxPool": ("_", POOLING, ("max pooling",)),
    "MaxPoolBackward": ("_", POOLING, ("gradient of max pooling",)),
    "AveragePool": ("_", POOLING, ("average pooling",)),
    "AveragePoolBackward": ("_", POOLING, ("gradient of average pooling",)),
    "Matmul": ("_", MATRIX, ("matrix product",)),
    "Linear": ("Linear({})", MATRIX, ("matrix product", "bias", "{}")),
    "BiasActivation": ("BiasActivation({})", ACTIVATION, ("bias", "{}")),
    "BiasActivationBackward": (
        "BiasActivationBackward({})",
        ACTIVATION,
        ("gradient of {}", "gradient of the bias"),
    ),
    "Plain": ("Softmax", LOSS, ("softmax",)),
    "Log": ("LogSoftmax", LOSS, ("logarithm of softmax",)),
    "SoftmaxBackward": ("SoftmaxBackward({})", LOSS, ("gradient of softmax",)),
    "CrossEntropy": ("_", LOSS, ("softmax", "cross-entropy")),
    "CrossEntropyBackward": ("_", LOSS, ("gradient of cross-entropy", "gradient of softmax")),
    "SparseCrossEntropy": ("_", LOSS, ("softmax", "cross-entropy with class numbers")),
    "SparseCrossEntropyBackward": (
        "_",
        LOSS,
        ("gradient of cross-entropy with class numbers", "gradient of softmax"),
    ),
    "BatchNorm": ("_", NORMALIZATION, ("batch statistics", "scaling and shift")),
    "BatchNormBackward": (
        "_",
        NORMALIZATION,
        ("gradient of the batch normalization's input", "of its scale", "of its shift"),
    ),
    "Reduce": ("_", REDUCTION, ("sum, product, maximum or the like over axes",)),
    "ProdGrad": ("_", REDUCTION, ("gradient of a product over axes",)),
    "ArgExtremum": ("_", REDUCTION, ("place of the largest or smallest element",)),
    "Cumsum": ("_", REDUCTION, ("running sums",)),
    "Chain": ("_", ELEMENTWISE, ("an elementwise op", "those that follow it, block by block")),
    "Apply": ("{}", ELEMENTWISE, ("{}, element by element",)),
    "Forward": ("{}", ELEMENTWISE, ("{} of each element",)),
    "First": ("{}Backward", ELEMENTWISE, ("gradient of {}",)),
    "Second": ("{}Backward2", ELEMENTWISE, ("second derivative of {}",)),
    "CastTo": ("Cast({})", ELEMENTWISE, ("cast to {}",)),
    "Select": ("_", ELEMENTWISE, ("one of two values for each element, by a condition",)),
    "Equal": ("_", ELEMENTWISE, ("comparison: equal",)),
    "NotEqual": ("_", ELEMENTWISE, ("comparison: not equal",)),
    "Less": ("_", ELEMENTWISE, ("comparison: less",)),
    "LessEqual": ("_", ELEMENTWISE, ("comparison: less or equal",)),
    "Greater": ("_", ELEMENTWISE, ("comparison: greater",)),
    "GreaterEqual": ("_", ELEMENTWISE, ("comparison: greater or equal",)),
    "And": ("_", ELEMENTWISE, ("logic: and",)),
    "Or": ("_", ELEMENTWISE, ("logic: or",)),
    "Xor": ("_", ELEMENTWISE, ("logic: either, not both",)),
    "Not": ("_", ELEMENTWISE, ("logic: not",)),
    "IsNan": ("_", ELEMENTWISE, ("whether an element is NaN",)),
    "IsInf": ("_", ELEMENTWISE, ("whether an element is infinite",)),
    "IsFinite": ("_", ELEMENTWISE, ("whether an element is finite",)),
    "Random": ("_", RANDOM, ("random numbers",)),
    "Dropout": ("_", RANDOM, ("random mask", "scaling of what it keeps")),
    "Copy": ("_", MOVING, ("copy into row-major order",)),
    "Reshape": ("_", MOVING, ("another shape",)),
    "Permute": ("_", MOVING, ("another order of the axes",)),
    "Slice": ("_", MOVING, ("a part",)),
    "Unslice": ("_", MOVING, ("gradient of a part",)),
    "Broadcast": ("_", MOVING, ("repetition along axes",)),
    "Concatenate": ("_", MOVING, ("concatenation",)),
    "Pad": ("_", MOVING, ("padding",)),
    "Take": ("_", MOVING, ("rows by their numbers",)),
    "Untake": ("_", MOVING, ("gradient of rows by their numbers",)),
    "PickAlong": ("_", MOVING, ("one element of each row",)),
    "PlaceAlong": ("_", MOVING, ("gradient of one element of each row",)),
    "OneHot": ("_", MOVING, ("one-hot rows of class numbers",)),
    "Adam": ("_", OPTIMIZER, ("both moments", "the step of all weights")),
    "Sgd": ("SGD", OPTIMIZER, ("the step of all weights",)),
    "MatmulAdam": (
        "_",
        OPTIMIZER,
        ("gradients that are matrix products", "both moments", "the step of all weights"),
    ),
    "MatmulSgd": (
        "MatmulSGD",
        OPTIMIZER,
        ("gradients that are matrix products", "the step of all weights"),
    ),
}

# An activation that is none.
_NOTHING = "linear"


def meaning(name: str) -> Meaning:
    """Return what a kernel does; of an unknown one only its name.

    Args:
        name: As the core calls it.

    >>> meaning("Linear(Relu)").text, meaning("Linear(Linear)").text
    ('matrix product + bias + relu', 'matrix product + bias')
    >>> meaning("Apply(Add)")
    Meaning(title='Add', family='elementwise', parts=('add, element by element',))
    """
    head, _, inner = name.partition("(")
    inner = inner.rstrip(")")
    if head not in _KERNELS:
        return Meaning(name, OTHER, ())
    title, family, parts = _KERNELS[head]
    words = inner.lower()
    kept = [part for part in parts if words != _NOTHING or part not in ("{}", "gradient of {}")]
    return Meaning(
        head if title == "_" else title.format(inner),
        family,
        tuple(part.format(words) for part in kept),
    )
