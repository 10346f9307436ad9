"""The exceptions that autodan adds to Python's own.

Wrong shapes and values are `ValueError`, wrong dtypes `TypeError`; only what a caller may
want to catch on its own has a class here.
"""

__all__ = ["DatasetNotFoundError", "FormatError"]


class FormatError(ValueError):
    """A file is damaged, cut short, or not in the format that its reader expects.

    The message names the file. Readers raise nothing else for what a file contains: any bytes
    give a result or this error.

    Example:
        >>> raise FormatError("train-labels-idx1-ubyte.gz: ends after 3 bytes")
        Traceback (most recent call last):
        ...
        autodan.errors.FormatError: train-labels-idx1-ubyte.gz: ends after 3 bytes
    """


class DatasetNotFoundError(FileNotFoundError):
    """A data set is neither on this machine nor to be had from any of its mirrors.

    The first line of the message says which files to put where; the lines after it say where
    was looked and what each mirror answered.

    Example:
        >>> issubclass(DatasetNotFoundError, FileNotFoundError)
        True
    """
