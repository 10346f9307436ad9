"""What the library is tested with, for those who write layers and ops of their own.

`check_gradients` compares gradients with central differences, `check_views` the results on views
with those on copies, `assert_close` values with a reference, under a bound such as
`float32_tolerance` rather than a tuned number. `shapes`, `views`, `overlapping_views`, `arrays` and
`special_values` are strategies for property tests with hypothesis (`pip install 'autodan[test]'`):

>>> import hypothesis, autodan as ad
>>> def scaled(x):
...     return ad.tanh(x) * 3.0
>>> @hypothesis.given(hypothesis.strategies.data())
... def test(data):
...     view = data.draw(views(data.draw(shapes(max_size=60))))
...     base = data.draw(arrays(view.base))
...     check_views(scaled, [base], [view])
...     check_gradients(scaled, base)
>>> test()
"""

from autodan.testing.close import assert_close, float32_tolerance
from autodan.testing.gradients import check_gradients
from autodan.testing.layouts import View, check_views
from autodan.testing.strategies import arrays, overlapping_views, shapes, special_values, views

__all__ = [
    "View",
    "arrays",
    "assert_close",
    "check_gradients",
    "check_views",
    "float32_tolerance",
    "overlapping_views",
    "shapes",
    "special_values",
    "views",
]
