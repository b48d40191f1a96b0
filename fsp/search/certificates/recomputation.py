"""Recomputes the parts of a certificate that follow from its search space, and lists those that must be believed."""

from collections.abc import Mapping
from typing import Any

from fsp.base.errors import InputError, untrusted
from fsp.objectives.counts import operations, sizes
from fsp.search.certificates.words import count
from fsp.spaces.rules import Rule
from fsp.spaces.space import SearchSpace, family_of

_COUNTED = ("peak_memory",)  # objectives that torch counts, so they are not recomputed here


def disagreement(certificate: Mapping[str, Any]) -> str | None:
    """Return the first disagreement between a certificate and its search space, None if there is none.

    Candidates, p and i of each and of T, and the parameters that must be equal in comparable shapes are computed from
    the space's choices, rules, maximum, constants, family and neutral parameters, without torch.

    Args:
        certificate: checked by `fsp.search.certificates.reading.check`.

    Raises:
        InputError: its space is not a valid search space.
    """
    described, columns = certificate["space"], certificate["parameters"]
    if described is None:
        return "it names no search space, so its candidates, p and i cannot be computed again"
    with untrusted("the certificate's search space", "ask for the file as fsp wrote it"):
        names = tuple(described["parameters"])
        unreadable = next((rule for rule in described["rules"] if not _is_expression(rule, names)), None)
        if unreadable is not None:
            return f"its rule {unreadable!r} is no expression, so its candidates cannot be computed again"
        space = _space(described)
        if list(columns) != list(names) or described["candidates"] != len(space.candidates):
            return "its candidates are not those of its search space"
        if [list(row) for row in zip(*columns.values(), strict=True)] != space.candidates.tolist():
            return "its candidates are not those of its search space"
        tolerated = certificate["assumptions"]["neutral"]
        if certificate["equal"] != [name for name in space.neutral if name not in tolerated]:
            return "its parameters that must be equal are not those that its search space calls neutral"
        return _objectives(certificate, space)


def believed(certificate: Mapping[str, Any]) -> list[str]:
    """Return the statements of a certificate that cannot be computed from it, one phrase each."""
    errors = sum(len(entry["errors"]) for entry in (*certificate["evaluations"], *certificate["fresh"]))
    assumed = certificate["assumptions"]
    facts = [
        f"the {count(errors, 'error')}, their seeds, and that they were measured in this order in the space named",
        "that alpha, tau, the pilot and the most evaluations were fixed before any error was known",
    ]
    if failed := len(set(certificate["failed"])):
        facts.append(f"that the evaluation of {count(failed, 'candidate')} failed: no rival of the choice")
    if any(entry["role"] == "audit" for entry in certificate["evaluations"]):
        facts.append("that the audited candidates were drawn at random")
    declared = [name for name in ("sigma", "error_floor", "transfer") if assumed[name] is not None]
    if declared:
        facts.append(f"the declared {', '.join(declared)}")
    facts += [f"the column {name}, which torch counts" for name in _COUNTED if name in certificate["objectives"]]
    return facts


def _space(described: Mapping[str, Any]) -> SearchSpace:
    """Return the search space of a description."""
    return SearchSpace(
        described["name"],
        {name: tuple(values) for name, values in described["parameters"].items()},
        tuple(described["rules"]),
        described["maximum"],
        described["family"],
        described["constants"],
        neutral=tuple(described["neutral"]),
    )


def _objectives(certificate: Mapping[str, Any], space: SearchSpace) -> str | None:
    """Return the first disagreement in p or i of a candidate or of T, None if there is none."""
    try:
        family = family_of(space)
    except InputError as refused:
        return f"its p and i cannot be computed again: {refused}"
    if set(space.constants) != set(family.CONSTANTS) or any(type(n) is not int for n in space.constants.values()):
        return f"its constants are not those of family {space.family}: {', '.join(family.CONSTANTS)}"
    points = (space.candidates, space.point(space.maximum))
    of_all, of_top = ({**sizes(space, rows), "operations": operations(space, rows)} for rows in points)
    given, top = certificate["objectives"], certificate["maximum"]
    if set(given) != set(top) or set(given) - {*_COUNTED} != set(of_all):
        return f"its p and i are not {', '.join(of_all)}"
    for name, values in of_all.items():
        wrong = next((k for k, value in enumerate(values.tolist()) if given[name][k] != value), None)
        if wrong is not None:
            shape = space.architectures(space.candidates[[wrong]])[0]
            return f"its {name} of {shape}, {given[name][wrong]}, is not what its search space gives, {values[wrong]}"
        if top[name] != of_top[name][0]:
            return (
                f"its {name} of the maximum point, {top[name]}, is not what its search space gives, {of_top[name][0]}"
            )
    return None


def _is_expression(rule: Any, names: tuple[str, ...]) -> bool:
    try:
        Rule(rule, names)
    except InputError:
        return False
    return True
