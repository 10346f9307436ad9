"""Fashion-MNIST: 70,000 pictures of clothes of 28 by 28 pixels, in MNIST's form.

H. Xiao, K. Rasul, R. Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms", arXiv:1708.07747 (2017); MIT licence.
"""

from __future__ import annotations

import os

from autodan.datasets import idx
from autodan.datasets.source import Source

__all__ = ["load_data"]

# Of the compressed files that Zalando published, which every mirror serves.
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
SOURCE = Source(
    "fashion_mnist",
    files=tuple(SHA256),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",  # Keras's
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://dataset.bj.bcebos.com/fashion_mnist/",  # PaddlePaddle's, in Beijing
    ),
)


def load_data(path: str | os.PathLike[str] | None = None) -> tuple[idx.Split, idx.Split]:
    """Loads Fashion-MNIST from disk, or downloads it once. As Keras `fashion_mnist.load_data`.

    The labels: 0 T-shirt/top, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt,
    7 sneaker, 8 bag, 9 ankle boot.

    Args:
        path: a folder that holds the four IDX files, plain or gzip-compressed; then nothing
            else is tried. None (default) looks in `$AUTODAN_DATA/fashion_mnist/`, the user's
            cache and the mirrors.

    Returns:
        `((x_train, y_train), (x_test, y_test))`, NumPy uint8: images (60000, 28, 28) and
        (10000, 28, 28) from 0 to 255, labels (60000,) and (10000,) from 0 to 9.

    Raises:
        DatasetNotFoundError: the files are nowhere; the message says where to put them.
        FormatError: a file is damaged; the message names it.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()  # doctest: +SKIP
        >>> x_train.shape, y_test.shape  # doctest: +SKIP
        ((60000, 28, 28), (10000,))
    """
    return idx.load_splits(SOURCE, download_sha256=SHA256, folder=path)
