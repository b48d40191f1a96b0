"""A certificate's gap as a function of the number of evaluations, and of the tolerance of M."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsp.report.style import BLUE, GREY, ORANGE, drawing, plain_ticks
from fsp.search.certificates.certificate import assess, check_certificate, problem_of
from fsp.search.certificates.reading import read_certificate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Certificate = Mapping[str, Any] | str | Path
_TAUS = 31


def gap_by_evaluations(source: Certificate, *, axes: "Axes | None" = None) -> "Axes":
    """Draw the gap that was proven after each evaluation of a certified search, and return the axes.

    The gap after k evaluations is that of the best candidate until then, from its errors in the search alone. The last
    one may differ slightly from the certificate's gap, for which the choice was evaluated again.

    Args:
        source: a certificate, its file, or the folder of its `certificate.json`.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: the source is not a certificate.
    """
    from matplotlib.ticker import MaxNLocator

    record = _record(source)
    problem = problem_of(record)
    scores = problem.log_score_lo
    gaps: list[float] = []
    for k in range(max(1, record["pilot"]), len(record["evaluations"]) + 1):
        seen = record["evaluations"][:k]
        best = max(seen, key=lambda entry: scores[entry["row"]] - float(np.log(entry["errors"]).mean()))
        gaps.append(_gap({**record, "evaluations": seen, "fresh": [], "selected": best["row"]}))
    counts = np.arange(len(record["evaluations"]) - len(gaps) + 1, len(record["evaluations"]) + 1)
    with drawing(axes, 2.5) as axes:
        axes.step(counts, 100 * np.array(gaps), where="post", color=BLUE, marker="o", ms=3, label="proven gap")
        _percent(axes, record)
        audit = [k for k, e in zip(counts, record["evaluations"][counts[0] - 1 :], strict=True) if e["role"] == "audit"]
        if audit:
            axes.axvspan(audit[0] - 0.5, audit[-1] + 0.5, color=GREY, alpha=0.2, lw=0, label="audit")
        proven = [gap for gap in gaps if gap == gap]
        if proven and 0 < 10 * min(proven) < max(proven):  # on a linear axis the last gaps would look like 0
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(f"candidates evaluated, of {problem.feasible.sum():,} feasible")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def gap_by_tau(source: Certificate, *, axes: "Axes | None" = None) -> "Axes":
    """Draw the gap that a certificate's evaluations prove under M(τ) for several τ, and return the axes.

    The range in which the evaluated pairs contradict M(τ), so that nothing is proven, is shaded. Only the τ that was
    fixed before the search has the certificate's confidence; the others show how the claim depends on τ.

    Args:
        source: a certificate, its file, or the folder of its `certificate.json`.
        axes: the axes to draw on; a new figure of 3.3 inches by default.

    Raises:
        InputError: the source is not a certificate.
    """
    record = _record(source)
    own, least = record["assumptions"]["tau"], assess(record)["evidence"]["least_tau"]
    known = max(own, least)
    taus = np.union1d(np.linspace(0, max(0.1, min(2 * known, (1 + known) / 2)), _TAUS), [own])
    gaps = [_gap({**record, "assumptions": {**record["assumptions"], "tau": float(tau)}}) for tau in taus]
    with drawing(axes, 2.5) as axes:
        axes.plot(100 * taus, 100 * np.array(gaps), color=BLUE, label="proven gap")
        axes.plot(
            100 * own,
            100 * gaps[int(np.searchsorted(taus, own))],
            "*",
            ms=9,
            color=ORANGE,
            label="τ of the certificate",
        )
        if least > 0:
            axes.axvspan(0, 100 * least, color=GREY, alpha=0.25, lw=0, label="contradicted")
        _percent(axes, record)
        axes.set_xlabel("τ (%)")
        axes.set_xlim(left=-2 * float(taus[-1]))
        axes.set_ylim(bottom=0)
    return axes


def _record(source: Certificate) -> Mapping[str, Any]:
    if isinstance(source, str | Path):
        path = Path(source)
        record: Mapping[str, Any] = read_certificate(path / "certificate.json" if path.is_dir() else path)
    else:
        record = source
    check_certificate(record)
    return record


def _gap(record: Mapping[str, Any]) -> float:
    """Return the proven gap, NaN if nothing is proven."""
    gap = assess(record)["gap"]
    return float("nan") if gap is None else float(gap)


def _percent(axes: "Axes", record: Mapping[str, Any]) -> None:
    axes.axhline(100 * record["target"], color=GREY, lw=0.8, ls="--", label="asked for")
    axes.set_ylabel("gap (%)")
    axes.grid(alpha=0.25, lw=0.5)
