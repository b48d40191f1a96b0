"""Reading and validating a certificate file, and comparing two results."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsp.base.errors import InputError
from fsp.base.files import read_json

_ROLES = ("pilot", "search", "audit")
_LARGEST = 2**63 - 1  # largest integer allowed: closed forms count in 64 bits


def read_certificate(path: Path) -> Any:
    """Return the content of a certificate file. Raises InputError where it cannot be read as JSON."""
    return read_json(path, what="the certificate ", advice="give the certificate.json of a certified extraction")


def check(body: Mapping[str, Any]) -> None:
    """Check types, ranges and references of a certificate's numbers.

    Raises:
        InputError: something is missing or wrong; the message names the first such thing.
    """
    try:
        _check(body)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        wrong = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"the certificate is incomplete or malformed ({wrong})") from None


def same(stated: Any, computed: Any) -> bool:
    """Return whether two JSON-like values are equal, numbers to nine digits (libraries differ in the last ones)."""
    if isinstance(computed, Mapping):
        return (
            isinstance(stated, Mapping)
            and stated.keys() == computed.keys()
            and all(same(stated[key], value) for key, value in computed.items())
        )
    if isinstance(computed, list):
        return isinstance(stated, list) and len(stated) == len(computed) and all(map(same, stated, computed))
    if isinstance(computed, bool) or isinstance(stated, bool) or not isinstance(computed, int | float):
        return type(stated) is type(computed) and stated == computed
    if not isinstance(stated, int | float) or abs(stated) > sys.float_info.max:  # a JSON integer may be of any size
        return False
    return math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-12)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InputError(f"the certificate is not valid: {what}")


def _number(value: Any, what: str, low: float = -math.inf, high: float = math.inf) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    if ok and isinstance(value, int):
        _require(abs(value) <= _LARGEST, f"{what} is an integer above 2^63")
    _require(ok and math.isfinite(value) and low <= value <= high, f"{what} is {value!r}")


def _positive(values: Any, what: str) -> None:
    _require(isinstance(values, list) and len(values) > 0, f"{what} is no list of numbers")
    for value in values:
        _number(value, what)
        _require(value > 0, f"{what} holds {value!r}, which is not positive")


def _check(body: Mapping[str, Any]) -> None:
    space = body["space"]
    _require(space is None or isinstance(space["parameters"], dict), "its space has no parameters")
    lengths = set()
    for kind in ("parameters", "objectives"):
        _require(isinstance(body[kind], dict), f"{kind} is no table")
        for name, column in body[kind].items():
            _require(isinstance(column, list) and len(column) > 0, f"{name} is no list of numbers")
            for value in column:
                _number(value, name)
            lengths.add(len(column))
    _require(len(body["parameters"]) > 0 and len(lengths) == 1, "its columns differ in length")
    _require(isinstance(body["maximum"], dict), "maximum is no table")
    for name, value in body["maximum"].items():
        _positive([value], f"maximum {name}")
    _check_choice(body)
    _check_assumptions(body)
    _check_evaluations(body, lengths.pop())


def _check_choice(body: Mapping[str, Any]) -> None:
    choice = body["choice"]
    if choice["objective"] == "limits":
        for limit in choice["limits"].values():
            _positive([limit], "limits")
        names = list(choice["limits"])
    else:
        _require(choice["objective"] == "w", f"objective is {choice['objective']!r}")
        for exponent in choice["exponents"]:
            _number(exponent, "exponents", low=0)
        _require(len(choice["exponents"]) == len(choice["speed"]) == 2, "W")
        names = [choice["size"], *choice["speed"]]
        _require(all(name in body["maximum"] for name in names), f"maximum has not all of {names}")
        for name in names:
            _positive(body["objectives"][name], name)
    _require(all(name in body["objectives"] for name in names), f"objectives {names} are not all there")


def _check_assumptions(body: Mapping[str, Any]) -> None:
    assumed = body["assumptions"]
    _number(body["alpha"], "alpha", low=0, high=1)
    _require(0 < body["alpha"] < 1, f"alpha is {body['alpha']}")
    _number(body["target"], "target", low=0)
    for tau in (assumed["tau"], *assumed["neutral"].values()):
        _number(tau, "tau", low=0)
        _require(tau < 1, f"tau is {tau}")
    _require(type(assumed["tau_post_hoc"]) is bool, "tau_post_hoc is neither true nor false")
    _require(
        isinstance(body["equal"], list) and not set(body["equal"]) & set(assumed["neutral"]),
        "equal and neutral overlap",
    )
    if assumed["sigma"] is not None:
        _number(assumed["sigma"], "sigma", low=0)
    if assumed["error_floor"] is not None:
        _positive([assumed["error_floor"]], "error_floor")
    if assumed["transfer"] is not None:
        low, high = assumed["transfer"]["low"], assumed["transfer"]["high"]
        _positive([low, high], "transfer")
        _require(low <= high, "transfer is no interval")
        _require(isinstance(assumed["transfer"]["source"], str), "transfer names no source")


def _check_evaluations(body: Mapping[str, Any], candidates: int) -> None:
    entries, failed, fresh = body["evaluations"], body["failed"], body["fresh"]
    _require(isinstance(entries, list) and isinstance(failed, list) and isinstance(fresh, list), "evaluations")
    rows = [entry["row"] for entry in entries]
    for row in (*rows, *failed, *(entry["row"] for entry in fresh), body["selected"]):
        _require(type(row) is int and 0 <= row < candidates, f"row {row!r} is no candidate")
    _require(len(rows) > 0 and len(set(rows)) == len(rows), "a candidate is listed twice")
    _require(body["selected"] in set(rows) - set(failed), "the choice was not evaluated")
    for entry in (*entries, *fresh):
        _positive(entry["errors"], "errors")
    _require(all(entry["role"] in _ROLES for entry in entries), f"a role is none of {', '.join(_ROLES)}")
    _require(type(body["pilot"]) is int and 1 <= body["pilot"] <= len(rows), f"pilot is {body['pilot']!r}")
    pilot = body["pilot"] if body["assumptions"]["sigma"] is None else 0
    marked = [entry["role"] == "pilot" for entry in entries]
    _require(all(marked[:pilot]) and not any(marked[pilot:]), "pilot and the roles disagree")
    _require(type(body["comparisons"]) is int, "comparisons is no integer")
    _number(body["comparisons"], "comparisons")
    _require(body["comparisons"] >= len(rows) + len(fresh), "comparisons is less than the number of intervals")
