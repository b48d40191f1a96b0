"""Whatever a caller has becomes an error, called as it was meant to be."""

import functools

import pytest

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.studies.error_function import as_error

SHAPE = Architecture(D=4)


class Whole:
    settings, seeded = {"error": "whole"}, False

    def __call__(self, architecture, seed):
        return architecture["D"]


class Unseeded:
    """Has a seed, which is said to mean nothing."""

    seeded = False

    def __call__(self, architecture, seed=0):
        return architecture["D"] + seed

    def longer(self, factor):
        return lambda architecture: architecture["D"] * factor


@pytest.mark.parametrize(
    ("given", "value", "seeded"),
    [
        (lambda a: a["D"], 4, False),
        (lambda a, seed: a["D"] + seed, 9, True),
        (lambda a, seed=1: a["D"] + seed, 9, True),
        (lambda a, *, seed: a["D"] + seed, 9, True),
        (functools.partial(lambda k, a: k * a["D"], 2), 8, False),
        (Whole(), 4, False),
        (Unseeded(), 4, False),
        (SHAPE.__class__.__len__, 1, False),
    ],
)
def test_the_seed_is_given_where_it_means_something_or_is_asked_for(given, value, seeded):
    error = as_error(given)
    assert (error(SHAPE, seed=5), error.seeded) == (value, seeded)
    assert as_error(error) is error


def test_capabilities_are_those_of_the_given_error():
    assert as_error(Unseeded()).longer(3)(SHAPE, seed=0) == 12
    assert [one(SHAPE, seed=0) for one in as_error(Unseeded()).variants(16, 3)] == [4, 12]
    with pytest.raises(InputError, match="with_steps"):
        as_error(Unseeded()).with_steps(3)
    refused = Unseeded()
    refused.longer = 5
    with pytest.raises(InputError, match="longer"):
        as_error(refused).longer(3)


def test_settings_are_the_errors_own_or_its_name():
    assert as_error(Whole()).settings == {"error": "whole"}
    assert as_error(Unseeded()).settings["error"].endswith("Unseeded")
