"""Certificates: a record of the numbers behind a choice, the claim they support, and the check of both.

A record is a JSON-like dict. `seal` adds the result that follows from it (`result`) and a checksum (`digest`); `verify`
computes the result again from the other numbers alone.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError
from fsp.base.files import digest
from fsp.search.certificates.bounds import (
    Floats,
    Noise,
    Order,
    audit_bound,
    evidence,
    gap_of,
    log_error_bounds,
    transferred,
)
from fsp.search.certificates.reading import check, same
from fsp.search.certificates.recomputation import believed, disagreement
from fsp.search.certificates.spread import spread_of
from fsp.search.certificates.words import refutation, statement

KIND, SCHEMA = "fsp.certificate", 2
_ROUNDING = 1e-12  # tolerance for rounding in means of logarithms
_LISTED = 20  # the most violations that a result lists; it always gives their number


@dataclass(frozen=True)
class Problem:
    """The candidates to choose from.

    Infeasible candidates have S = 0 (log S = -inf), and so have those that are no better than T in size or speed.

    Attributes:
        order: the candidates' order under M.
        feasible: which candidates are feasible, `(n,)`.
        log_score_lo: log S at its lower end, `(n,)`.
        log_score_hi: log S at its upper end, `(n,)`.
    """

    order: Order
    feasible: NDArray[np.bool_]
    log_score_lo: Floats
    log_score_hi: Floats


def problem_of(record: Mapping[str, Any]) -> Problem:
    """Return the problem that a record describes.

    Raises:
        InputError: no candidate meets the limits, p or i is above that of T, or a name is unknown.
    """
    columns, choice, assumed = record["parameters"], record["choice"], record["assumptions"]
    for name in (*record["equal"], *assumed["neutral"]):
        if name not in columns:
            raise InputError(f"no parameter {name!r} to be neutral or equal; there are {', '.join(columns)}")
    order = Order.of(columns, equal=record["equal"], neutral=assumed["neutral"], tau=assumed["tau"])
    objectives = {name: np.asarray(column, dtype=np.float64) for name, column in record["objectives"].items()}
    feasible = np.ones(len(order.sizes), dtype=bool)
    if choice["objective"] == "limits":
        for name, limit in choice["limits"].items():
            feasible &= objectives[name] <= limit
        if not feasible.any():
            raise InputError("no candidate meets the limits of the certificate")
        zero = np.where(feasible, 0.0, -np.inf)
        return Problem(order, feasible, zero, zero)
    size, low, high = (objectives[name] for name in (choice["size"], *choice["speed"]))
    top, top_low, top_high = (record["maximum"][name] for name in (choice["size"], *choice["speed"]))
    if (size > top).any() or (low > top_high).any():
        raise InputError("W needs p and i no larger than those of the maximum point T")
    a, b = choice["exponents"]
    with np.errstate(divide="ignore"):
        from_size = a * np.log1p(-size / top) if a else np.zeros(len(size))
        ends = [b * np.log1p(-np.minimum(i, t) / t) if b else 0.0 for i, t in ((high, top_low), (low, top_high))]
    return Problem(order, feasible, from_size + ends[0], from_size + ends[1])


def noise_of(record: Mapping[str, Any]) -> Noise:
    """Return the noise of log e: as declared, or else pooled over the seeds of the pilot candidates."""
    sigma = record["assumptions"]["sigma"]
    if sigma is not None:
        return Noise(sigma)
    return Noise.pooled([entry["errors"] for entry in record["evaluations"][: record["pilot"]]])


def _noise_facts(record: Mapping[str, Any], noise: Noise) -> dict[str, Any]:
    """Return the noise, and the test of it on the seeds of all evaluations."""
    declared = record["assumptions"]["sigma"] is not None
    seen = spread_of(
        [entry["errors"] for entry in (*record["evaluations"], *record["fresh"])],
        noise,
        pilot=0 if declared else record["pilot"],
        alpha=record["alpha"],
        comparisons=record["comparisons"],
    )
    freedom = None if declared else noise.freedom
    return {"sigma": noise.sigma, "declared": declared, "freedom": freedom, **asdict(seen)}


def assess(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a record: status, gap, the evidence about M, the audit.

    The status is `proven` (the gap is bounded), `vacuous` (the numbers determine no finite gap or no noise) or
    `refuted` (the evaluations contradict M or the noise, and nothing is claimed).

    Args:
        record: see docs/certificate.md for its keys.

    Source: the certificate of this project; docs/certificate.md gives each formula and its source.
    """
    problem, noise = problem_of(record), noise_of(record)
    order, assumed, alpha, selected = problem.order, record["assumptions"], record["alpha"], record["selected"]
    entries = record["evaluations"]
    rows = [entry["row"] for entry in entries]
    runs = np.array([len(entry["errors"]) for entry in entries])
    mean = np.array([np.log(entry["errors"]).mean() for entry in entries])

    def half(n: int) -> float:
        return noise.half_width(n, alpha=alpha, comparisons=record["comparisons"])

    widths = {n: half(n) for n in set(runs.tolist())}
    width = np.array([widths[n] for n in runs.tolist()])
    floor = math.log(assumed["error_floor"]) if assumed["error_floor"] else -math.inf
    bounds = log_error_bounds(order, rows, mean - width, log_floor=floor)

    fresh = next((f["errors"] for f in reversed(record["fresh"]) if f["row"] == selected), None)
    own = rows.index(selected)
    centre = mean[own] if fresh is None else float(np.log(fresh).mean())
    spread = width[own] if fresh is None else half(len(fresh))
    rivals = problem.log_score_hi.copy()
    rivals[record["failed"]] = -np.inf
    try:
        log_value = problem.log_score_lo[selected] - centre - spread
        gap, worst = gap_of(rivals, bounds, selected=selected, log_value=log_value)
    except InputError:
        gap, worst = math.inf, selected

    found = evidence(order, rows, mean, runs, noise, alpha=alpha)
    noise_facts = _noise_facts(record, noise)
    again = [(one["row"], float(np.log(one["errors"]).mean()), half(len(one["errors"]))) for one in record["fresh"]]
    highest = [*(mean + width), *(log_mean + half_width for _, log_mean, half_width in again)]
    below = int((np.array(highest) < floor).sum())
    apart = int(
        sum(
            abs(log_mean - mean[rows.index(row)]) > half_width + width[rows.index(row)] + _ROUNDING
            for row, log_mean, half_width in again
        )
    )
    known = noise_facts["declared"] or noise.sigma > 0
    status = "proven" if math.isfinite(gap) and known else "vacuous"
    if found.violations or noise_facts["contradicted"] or below or apart:
        status = "refuted"
    claimed = gap if status == "proven" else None
    transfer = assumed["transfer"]
    result = {
        "status": status,
        "gap": claimed,
        "reached": claimed is not None and claimed <= record["target"],
        "selected": _architecture(record, selected),
        "error": _exp(centre),
        "error_interval": [_exp(centre - spread), _exp(centre + spread)],
        "rival": None if worst == selected or status != "proven" else _rival(record, worst, bounds[worst]),
        "noise": noise_facts,
        "evidence": {
            "pairs": found.pairs,
            "violated": len(found.violations),
            "worst": [[_architecture(record, row) for row in pair] for pair in found.violations[:_LISTED]],
            "least_tau": found.least_tau,
            "below_floor": below,
            "fresh_apart": apart,
        },
        "audit": _audit(record, order, mean, width, floor),
        "final_gap": None
        if claimed is None or transfer is None
        else transferred(claimed, low=transfer["low"], high=transfer["high"]),
    }
    return {**result, "statement": statement(record, result, int(problem.feasible.sum()))}


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the certificate of a record: the record with its `result` and `digest`.

    Raises:
        InputError: the record is not valid.
    """
    body = {"kind": KIND, "schema": SCHEMA, **record}
    check(body)
    body["result"] = assess(body)
    return {**body, "digest": digest(body)}


@dataclass(frozen=True)
class Verdict:
    """The outcome of `verify`.

    Attributes:
        holds: whether the numbers support the stated claim, and the claim bounds the gap.
        reasons: why the certificate does not hold; empty if it does.
        result: the recomputed result.
        believed: statements that cannot be checked by computation from the file.
    """

    holds: bool
    reasons: tuple[str, ...]
    result: Mapping[str, Any]
    believed: tuple[str, ...]


def verify(certificate: Mapping[str, Any]) -> Verdict:
    """Recompute a certificate's candidates, p, i and claim from its space and its errors alone, and compare.

    Args:
        certificate: the content of a `certificate.json`.

    Raises:
        InputError: it is not a certificate, or has another schema.

    Example:
        >>> verify({"kind": "fsp.certificate", "schema": 99})
        Traceback (most recent call last):
        ...
        fsp.base.errors.InputError: the certificate has schema 99 and this fsp reads 2; upgrade fsp
    """
    check_certificate(certificate)
    result = assess(certificate)
    reasons = []
    if certificate.get("digest") != digest({k: v for k, v in certificate.items() if k != "digest"}):
        reasons.append("its checksum does not match: it was changed after it was written")
    if not same(certificate.get("result"), result):
        reasons.append("its stated result does not follow from its numbers")
    if other := disagreement(certificate):
        reasons.append(other)
    if result["status"] != "proven":
        reasons.append(refutation(result))
    return Verdict(not reasons, tuple(reasons), result, tuple(believed(certificate)))


def check_certificate(certificate: Any) -> None:
    """Raise InputError if a value is not a certificate that this version of fsp reads, or is malformed."""
    if not isinstance(certificate, Mapping) or certificate.get("kind") != KIND:
        raise InputError("this is no certificate of fsp; give the certificate.json of a certified extraction")
    schema = certificate.get("schema")
    if type(schema) is not int or schema < 1:
        raise InputError("the certificate has no valid schema number")
    if schema > SCHEMA:
        shown = schema if schema < 1_000_000 else "a million or more"
        raise InputError(f"the certificate has schema {shown} and this fsp reads {SCHEMA}; upgrade fsp")
    if schema < SCHEMA:
        raise InputError(
            f"the certificate has schema {schema}, which lacks data that fsp now checks; certify again with the same "
            "--study, which evaluates nothing twice"
        )
    check(certificate)


def _exp(log_error: float) -> float:
    """Return the error, capped at the largest number that JSON can hold, as a declared sigma may be of any size."""
    return math.exp(min(log_error, math.log(sys.float_info.max)))


def _audit(record: Mapping[str, Any], order: Order, mean: Floats, width: Floats, floor: float) -> dict[str, Any] | None:
    """Compare each audited candidate with its bound from M and the candidates evaluated before the audit."""
    roles = [entry["role"] for entry in record["evaluations"]]
    if "audit" not in roles:
        return None
    audited = np.flatnonzero(np.array(roles) == "audit")
    rows = [entry["row"] for entry in record["evaluations"]]
    bounds = log_error_bounds(order, rows[: audited[0]], (mean - width)[: audited[0]], log_floor=floor)
    failures = int(((mean + width)[audited] < bounds[np.array(rows)[audited]] - 1e-12).sum())
    share = audit_bound(failures, len(audited), alpha=record["alpha"])
    return {"audited": len(audited), "failures": failures, "share_at_most": share}


def _architecture(record: Mapping[str, Any], row: int) -> dict[str, float]:
    return {name: column[row] for name, column in record["parameters"].items()}


def _rival(record: Mapping[str, Any], row: int, log_bound: float) -> dict[str, Any]:
    return {"architecture": _architecture(record, row), "error_at_least": _exp(log_bound)}
