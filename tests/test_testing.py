"""Each contract fails where a family or a method breaks it, and in the test that says how."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fsp.families import mlp
from fsp.families.anatomy import Anatomy, Branch, axes_of
from fsp.spaces.space import SearchSpace
from fsp.testing import FamilyContract, MethodContract


def failed(contract):
    """Return the names of the tests that a contract fails in."""
    found = set()
    for name in dir(contract):
        if name.startswith("test_"):
            try:
                getattr(contract, name)()
            except Exception:
                found.add(name.removeprefix("test_"))
    return found


def changed(**members):
    """Hold a family to the contract that is `mlp` but for some members."""
    family = SimpleNamespace(**{**vars(mlp), **members})
    contract = FamilyContract()
    constants = {"inputs": 5, "outputs": 2}
    contract.space = SearchSpace("small", {"D": (1, 3), "H": (8, 16)}, (), {"D": 3, "H": 16}, family, constants)
    return contract


def one_more(shape, constants):
    counts = mlp.parameters(shape, constants)
    return {**counts, "parameters": counts["parameters"] + 1}


def by_floats(shape, constants, **size):
    return mlp.operations(shape, constants, **size) * 1.0


def swapped(config):
    constants = mlp.constants_of(config)
    return {"inputs": constants["outputs"], "outputs": constants["inputs"]}


class Lenient(Anatomy):
    def check(self, full, shape):
        """Refuse nothing."""


def mlp_of_full_width(network, shape, layers):
    return mlp.build({**shape, "H": network.config.width}, mlp.constants_of(network.config))


UNNAMED = replace(mlp.anatomy, axes=axes_of({"middle.*": ("H", "H"), "last": (None, "H")}))
MIXED = replace(mlp.anatomy, branches=(Branch("", ("",), "", "H"),))  # what adds to the stream is nonlinear
LENIENT = Lenient(**vars(mlp.anatomy))


BUILT = "a_network_is_counted_as_it_is_built_and_tells_what_it_was_built_as"
COUNTED = "operations_are_those_of_torch_and_little_more"
COLUMNS = "closed_forms_take_columns_and_leave_them_alone"
SHAPES = "cuts_have_their_shape_and_leave_t_alone"
FULL = "the_cut_at_full_size_computes_what_t_does"
OTHERS = "networks_of_other_families_are_refused"
LARGER = "shapes_that_cannot_be_cut_are_refused"


@pytest.mark.parametrize(
    ("members", "tests"),
    [
        ({}, set()),
        ({"parameters": one_more}, {BUILT, SHAPES}),
        ({"operations": lambda s, c, **size: mlp.operations(s, c, **size) // 2}, {COUNTED}),
        ({"operations": lambda s, c, **size: mlp.operations(s, c, **size) * 2}, {COUNTED}),
        ({"operations": by_floats}, {COLUMNS}),
        ({"constants_of": swapped}, {BUILT, SHAPES}),
        ({"constants_of": lambda config: {"inputs": config.inputs, "outputs": config.outputs}}, {OTHERS}),
        ({"resized": lambda network, shape, layers: network}, {FULL, SHAPES}),
        ({"resized": mlp_of_full_width}, {SHAPES}),
        ({"anatomy": UNNAMED}, {SHAPES}),
        ({"anatomy": MIXED}, {FULL}),
        ({"anatomy": LENIENT}, {LARGER}),
        ({"anatomy": None}, set()),
    ],
)
def test_families(members, tests):
    assert failed(changed(**members)) == tests


def in_sequence(rows):
    for row in rows.tolist():  # noqa: UP028 - a list, unlike this loop, cannot be sent the errors
        yield row


def backwards(candidates, evaluations, seed):
    return in_sequence(np.argsort(-candidates.size))


def forgetful(candidates, evaluations, seed):
    while True:
        yield 0


def beyond(candidates, evaluations, seed):
    return in_sequence(np.arange(len(candidates) + 1))


def unseeded(candidates, evaluations, seed):
    return in_sequence(np.random.default_rng().permutation(len(candidates)))


def frail(candidates, evaluations, seed):
    for row in range(len(candidates)):
        if math.isnan((yield row)):
            return


def by_name(candidates, evaluations, seed):
    return in_sequence(np.argsort(candidates.parameters[:, 0]))


def lazy(candidates, evaluations, seed):
    yield int(candidates.size.argmin())


EXISTS = "it_asks_for_rows_that_exist_and_for_none_twice"
REPEATS = "a_seed_repeats_the_search"
NAN = "failed_evaluations_are_passed_over"
ORDER = "the_order_and_names_of_parameters_do_not_matter"
ENDS = "it_ends_when_all_rows_are_evaluated"
BEST = "a_budget_of_all_rows_finds_the_best"


@pytest.mark.parametrize(
    ("method", "tests"),
    [
        (backwards, set()),
        (forgetful, {EXISTS, NAN, ENDS, BEST}),
        (beyond, {EXISTS, REPEATS, NAN, ORDER, ENDS}),
        (unseeded, {REPEATS, ORDER}),
        (frail, {NAN}),
        (by_name, {ORDER}),
        (lazy, {NAN, ENDS, BEST}),
    ],
)
def test_methods(method, tests):
    contract = MethodContract()
    contract.method = method
    assert failed(contract) == tests


def test_a_method_in_a_class_body_is_no_bound_method():
    class TestBackwards(MethodContract):
        method = backwards

    assert not failed(TestBackwards())
