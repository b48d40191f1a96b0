from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsp.base.rounding import at_least, at_most, confidence, plain, up

shares = st.floats(0, 1e6) | st.floats(0, 1)


def read(text):
    """A printed percentage as an exact number."""
    assert text.endswith("%")
    return Fraction(text[:-1]) / 100


def exact(value):
    return Fraction(repr(float(value)))


@given(shares, st.integers(0, 4))
@example(0.020408, 2)
@example(0.9996, 1)
@example(1e300, 2)
def test_a_bound_read_back_is_never_more_favourable(share, digits):
    assert read(at_most(share, digits)) >= exact(share)
    assert read(at_least(share, digits)) <= exact(share)
    if share < 100:  # no more than one unit of the last digit is lost
        assert read(at_most(share, digits)) - read(at_least(share, digits)) <= Fraction(1, 10 ** (digits + 2))


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
@example(0.004)
@example(5e-324)
@example(0.05)
def test_a_confidence_read_back_is_never_more_than_computed_and_never_all(alpha):
    said = read(confidence(alpha))
    assert said <= 1 - exact(alpha)


@given(st.floats(0, 1e9))
def test_plain_numbers_read_back_as_themselves_and_up_as_no_less(value):
    assert float(plain(value)) == value
    assert float(up(value)) >= value


@pytest.mark.parametrize(("alpha", "said"), [(0.05, "95%"), (0.004, "99.6%"), (0.1, "90%"), (0.005, "99.5%")])
def test_usual_levels(alpha, said):
    assert confidence(alpha) == said
