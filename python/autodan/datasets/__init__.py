"""Data sets for training and testing, as in `keras.datasets`.

Each module has one function, `load_data()`, which returns
`((x_train, y_train), (x_test, y_test))` as NumPy arrays. `digits` comes with the package and
needs no network; the others are looked for in `$AUTODAN_DATA/<name>/` and in the user's cache
before they are downloaded.
"""

from autodan.datasets import cifar10, digits, fashion_mnist, mnist
from autodan.errors import DatasetNotFoundError

__all__ = ["DatasetNotFoundError", "cifar10", "digits", "fashion_mnist", "mnist"]
