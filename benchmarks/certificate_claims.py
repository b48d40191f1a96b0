"""How often the claims of certificates are false where noise is not what they assume, on bert_large's 300 candidates.

    python benchmarks/certificate_claims.py [--instances 200] [--out benchmarks/results/certificate_claims.json]

M(0) holds in every instance, sigma is estimated from three seeds of each candidate, alpha is 5%. Each row is one kind
of noise of log e and one question; beside what a certificate claims there is what it would claim if the spread of the
seeds were not tested, and if a spread that contradicts sigma raised it, to the upper 95% limit pooled over all
evaluations, instead of leaving no claim. One process, one thread; under ten minutes where nothing else runs.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from certificates import COST, MAXIMUM, POINTS, QUESTIONS, SPACE, TABLE, D, H, I, random_steps
from scipy import stats

from fsp import CertifiedSettings
from fsp.base import write_json
from fsp.search.certificates import assess, seal, search
from fsp.search.certificates.bounds import squared_deviations
from fsp.search.certificates.certificate import problem_of
from fsp.search.certificates.spread import Spread
from fsp.search.question import Question

ALPHA, TARGET = 0.05, 0.02
RELATIVE = (COST - COST.min()) / (COST.max() - COST.min())
ASKED = {
    "w": QUESTIONS["w, p = encoder_parameters"],
    "limits": Question.of("limits", {"operations": "40%"}, "parameters", (1.0, 1.0), MAXIMUM),
}


def powers(rng: np.random.Generator, most: float) -> np.ndarray:
    a, b, c = rng.uniform(most / 6, most, 3)
    return 0.2 * D**-a * H**-b * I**-c


LAWS = (partial(powers, most=0.6), partial(powers, most=0.03), random_steps)

Sigma = Callable[[np.ndarray], np.ndarray]  # of each candidate, from which of them are in the pilot
NOISES: dict[str, Sigma] = {
    **{
        f"pilot {quiet:.1%}, others 5%": lambda pilot, quiet=quiet: np.where(pilot, quiet, 0.05)  # type: ignore[misc]
        for quiet in (0.0, 0.001, 0.005, 0.01, 0.02)
    },
    "from 0.2% to 5% with size": lambda pilot: 0.002 + 0.048 * RELATIVE,
    "from 0.5% to 10% with size": lambda pilot: 0.005 + 0.095 * RELATIVE,
    "from 5% to 0.2% with size": lambda pilot: 0.05 - 0.048 * RELATIVE,
    **{
        f"{equal:.1%} everywhere": lambda pilot, equal=equal: np.full(len(COST), equal) for equal in (0.003, 0.01, 0.05)
    },  # type: ignore[misc]
    "0.5%, a tenth 20%": lambda pilot: np.where(np.random.default_rng(0).random(len(COST)) < 0.1, 0.2, 0.005),
    "none": lambda pilot: np.zeros(len(COST)),
}


def record_of(question: Question, options: CertifiedSettings) -> dict[str, Any]:
    return question.record(SPACE, TABLE, options, TARGET)


def untested(certificate: dict[str, Any]) -> float | None:
    """The gap that would be claimed if the spread of the seeds were not tested."""
    return _gap(certificate, None if certificate["result"]["noise"]["sigma"] else 0.0)


def raised(certificate: dict[str, Any]) -> float | None:
    """The gap with sigma at its upper 95% limit over all evaluations."""
    entries = [*certificate["evaluations"], *certificate["fresh"]]
    freedom = sum(len(entry["errors"]) - 1 for entry in entries)
    squares = sum(squared_deviations(entry["errors"]) for entry in entries)
    return _gap(certificate, float(np.sqrt(squares / stats.chi2(freedom).ppf(ALPHA)))) if squares else None


def _gap(certificate: dict[str, Any], sigma: float | None) -> float | None:
    """The gap without the test of the noise, with sigma as estimated (None) or declared."""
    record = certificate
    if sigma is not None:
        entries = [{**entry, "role": "search"} for entry in certificate["evaluations"]]
        record = {**certificate, "evaluations": entries, "assumptions": {**certificate["assumptions"], "sigma": sigma}}
    with patch("fsp.search.certificates.certificate.spread_of", lambda *_, **__: Spread(0, 0, None, False)):
        return assess(record)["gap"]


def simulate(question: Question, heads: str, noise: Sigma, instances: int) -> dict[str, Any]:
    """Count claims and false claims over instances that differ in law and noise."""
    options = CertifiedSettings(alpha=ALPHA, neutral={"A": 0.0} if heads == "neutral" else {})
    record = record_of(question, options)
    blank = search(record, COST, lambda row, seed: 1 + 0.01 * seed, options)
    in_pilot = np.isin(np.arange(len(COST)), [e["row"] for e in blank["evaluations"] if e["role"] == "pilot"])
    sigma = noise(in_pilot)
    scores = problem_of(record).log_score_hi
    kinds = ("claims", "untested", "raised")
    made, false = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    contradicted = refuted = 0
    for seed in range(instances):
        rng = np.random.default_rng(seed)
        truth = LAWS[seed % len(LAWS)](rng)

        def evaluate(row: int, seed: int, truth: np.ndarray = truth, rng: Any = rng) -> float:
            return float(truth[row] * np.exp(sigma[row] * rng.standard_normal()))

        certificate = seal(search(record, COST, evaluate, options))
        values = scores - np.log(truth)
        true_gap = float(np.expm1(values.max() - values[certificate["selected"]]))
        gaps = {"claims": certificate["result"]["gap"], "untested": untested(certificate)}
        noisy = certificate["result"]["noise"]
        gaps["raised"] = raised(certificate) if noisy["contradicted"] or not noisy["sigma"] else gaps["claims"]
        contradicted += noisy["contradicted"]
        refuted += certificate["result"]["evidence"]["violated"] > 0
        for kind, gap in gaps.items():
            made[kind] += gap is not None
            false[kind] += gap is not None and true_gap > gap + 1e-9
    return {
        "instances": instances,
        "spread_contradicts_sigma": contradicted,
        "m_refuted": refuted,
        **made,
        **{f"{kind}_false": number for kind, number in false.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certificate_claims.json"))
    arguments = parser.parse_args()
    rows = []
    for name, noise in NOISES.items():
        for asked, question in ASKED.items():
            for heads in ("neutral", "equal"):
                row = {"noise": name, "question": asked, "A": heads}
                rows.append(row | simulate(question, heads, noise, arguments.instances))
                print(*(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    facts = {"space": SPACE.name, "candidates": len(POINTS), "alpha": ALPHA, "target": TARGET, "seeds": 3}
    write_json(arguments.out, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
