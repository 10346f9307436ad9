"""MNIST: 70,000 handwritten digits of 28 by 28 pixels.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86 (1998).
"""

from __future__ import annotations

import os

from autodan.datasets import idx
from autodan.datasets.source import Source

__all__ = ["load_data"]

# Of the decompressed files, so that any compression of the same data is accepted.
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
SOURCE = Source(
    "mnist",
    files=tuple(SHA256),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",  # PyTorch's
        "https://storage.googleapis.com/cvdf-datasets/mnist/",  # the CVDF's
        "https://dataset.bj.bcebos.com/mnist/",  # PaddlePaddle's, in Beijing
    ),
)


def load_data(path: str | os.PathLike[str] = "mnist.npz") -> tuple[idx.Split, idx.Split]:
    """Loads MNIST from disk, or downloads it once (11 MB). As Keras `mnist.load_data`.

    Args:
        path: a folder that holds the four IDX files, plain or gzip-compressed; then nothing
            else is tried. A name that ends in ".npz", Keras's default among them, stands for
            the usual places: `$AUTODAN_DATA/mnist/`, the user's cache, the mirrors.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, NumPy uint8: images (60000, 28, 28) and
        (10000, 28, 28) from 0 to 255, labels (60000,) and (10000,) from 0 to 9.

    Raises:
        DatasetNotFoundError: the files are nowhere; the message says where to put them.
        FormatError: a file is damaged or not MNIST's; the message names it.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape, y_test.shape  # doctest: +SKIP
        ((60000, 28, 28), (10000,))
    """
    folder = None if os.fspath(path).endswith(".npz") else path
    return idx.load_splits(SOURCE, content_sha256=SHA256, folder=folder)
