"""Generated calls of everything public, with arguments that are right, wrong and hostile.

`values.py` has the arguments, `callables.py` what is called, `calls.py` makes a call of a seed and
judges what comes of it. `tests/test_bad_calls.py` makes a few hundred, `tests/stress/bad_calls.py`
any number.
"""
