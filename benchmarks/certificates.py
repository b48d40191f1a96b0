"""What a certificate costs and how often its claim is true, on synthetic errors of the paper's space (bert_large).

    python benchmarks/certificates.py [--instances 40] [--out benchmarks/results/certificates.json]

Every instance has a known error of every candidate, so the true gap of a choice is known. Cost is the operations of
the evaluated candidates over those of all candidates (of all feasible ones under limits): training a candidate takes
time in proportion to its operations. One process, one thread; about two minutes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fsp import CertifiedSettings, load_space
from fsp.base import write_json
from fsp.objectives import objectives_at, objectives_of
from fsp.search.certificates import Noise, seal, search
from fsp.search.certificates.certificate import problem_of
from fsp.search.question import Question

SPACE = load_space("bert_large")
POINTS = SPACE.candidates
TABLE = objectives_of(SPACE, POINTS)
MAXIMUM = objectives_at(SPACE, SPACE.maximum)
COST = TABLE["operations"].to_numpy(dtype=float)
TARGETS = {"neutral": 0.10, "equal": 0.30}  # of the exhaustive cost, for a gap of 5%
QUESTIONS = {
    "w, p = parameters": Question.of("w", None, "parameters", (1.0, 1.0), MAXIMUM),
    "w, p = encoder_parameters": Question.of("w", None, "encoder_parameters", (1.0, 1.0), MAXIMUM),
    "limits, 25% of T": Question.of("limits", None, "parameters", (1.0, 1.0), MAXIMUM),
}
D, _, H, I = (POINTS[:, j] / SPACE.maximum[name] for j, name in enumerate(SPACE.names))  # noqa: E741


def sum_of_powers(rng: np.random.Generator) -> np.ndarray:
    share, powers = rng.dirichlet(np.ones(3)), rng.uniform(0.1, 0.8, 3)
    return rng.uniform(0, 0.3) + share[0] * D ** -powers[0] + share[1] * H ** -powers[1] + share[2] * I ** -powers[2]


def product_of_powers(rng: np.random.Generator) -> np.ndarray:
    powers = rng.uniform(0.05, 0.6, 3)
    return 0.2 * D ** -powers[0] * H ** -powers[1] * I ** -powers[2]


def random_steps(rng: np.random.Generator) -> np.ndarray:
    choices = [np.array(SPACE.parameters[name]) for name in "DHI"]
    steps = rng.exponential(1, [len(c) for c in choices]) ** 2
    table = steps[::-1, ::-1, ::-1].cumsum(0).cumsum(1).cumsum(2)[::-1, ::-1, ::-1]
    at = tuple(np.searchsorted(c, POINTS[:, SPACE.names.index(name)]) for c, name in zip(choices, "DHI", strict=True))
    return (table / table.max())[at] ** rng.uniform(0.1, 0.4)


LAWS = {"sum of powers": sum_of_powers, "product of powers": product_of_powers, "random steps": random_steps}


def certify(
    truth: np.ndarray, question: Question, options: CertifiedSettings, *, noise: float | np.ndarray, rng: Any
) -> dict:
    """Certify at a gap of 5%, with log-normal noise around the true errors, of one sigma or one for each candidate."""
    sigma = np.broadcast_to(noise, truth.shape)
    record = question.record(SPACE, TABLE, options, 0.05)
    record["equal"] = [] if "A" in options.neutral else ["A"]

    def evaluate(row: int, seed: int) -> float:
        return float(truth[row] * np.exp(sigma[row] * rng.standard_normal()))

    return seal(search(record, COST, evaluate, options))


def outcome(truth: np.ndarray, certificate: dict, options: CertifiedSettings) -> dict[str, Any]:
    """What one certificate cost, and whether it is true."""
    problem = problem_of(certificate)
    values = problem.log_score_hi - np.log(truth)
    true_gap = float(np.expm1(values.max() - values[certificate["selected"]]))
    rows = [entry["row"] for entry in certificate["evaluations"]]
    runs = COST[rows].sum() * options.seeds + sum(COST[f["row"]] * len(f["errors"]) for f in certificate["fresh"])
    gap = certificate["result"]["gap"]
    return {
        "evaluations": len(rows),
        "cost": runs / COST[problem.feasible].sum(),
        "gap": gap,
        "reached": certificate["result"]["reached"],
        "status": certificate["result"]["status"],
        "wrong": gap is not None and true_gap > gap + 1e-9,
        "true_gap": true_gap,
    }


def summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    cost = np.array([o["cost"] for o in outcomes])
    gaps = [o["gap"] for o in outcomes if o["gap"] is not None]
    return {
        "instances": len(outcomes),
        "evaluations_mean": round(float(np.mean([o["evaluations"] for o in outcomes])), 1),
        "cost_mean": round(float(cost.mean()), 4),
        "cost_90th_percentile": round(float(np.quantile(cost, 0.9)), 4),
        "cost_max": round(float(cost.max()), 4),
        "gap_median": round(float(np.median(gaps)), 4) if gaps else None,
        "reached": round(float(np.mean([o["reached"] for o in outcomes])), 4),
        "claims": len(gaps),
        "claims_wrong": sum(o["wrong"] for o in outcomes),
        "refuted": sum(o["status"] == "refuted" for o in outcomes),
        "true_gap_mean": round(float(np.mean([o["true_gap"] for o in outcomes])), 4),
    }


def without_noise(instances: int) -> list[dict[str, Any]]:
    """Cost of a gap of 5% without noise, for every question and law, A neutral or equal."""
    rows = []
    for heads, target in TARGETS.items():
        options = CertifiedSettings(sigma=0.0, seeds=1, neutral={"A": 0.0} if heads == "neutral" else {})
        for asked, question in QUESTIONS.items():
            for law, draw in LAWS.items():
                outcomes = []
                for seed in range(instances):
                    rng = np.random.default_rng(seed)
                    truth = draw(rng)
                    if heads == "equal":  # A matters, in no order
                        truth = truth * np.exp(rng.uniform(-0.1, 0.1, 4))[np.searchsorted((4, 8, 12, 16), POINTS[:, 1])]
                    outcomes.append(outcome(truth, certify(truth, question, options, noise=0.0, rng=rng), options))
                within = float(np.mean([o["cost"] <= target for o in outcomes]))
                rows.append(
                    {"A": heads, "question": asked, "law": law, **summary(outcomes)}
                    | {"target_cost": target, "within_target": round(within, 4)}
                )
    return rows


def with_noise(instances: int) -> list[dict[str, Any]]:
    """Coverage and gap under log-normal noise, sigma declared (one seed) or estimated (three); A neutral."""
    rows = []
    for noise in (0.003, 0.01, 0.03):
        for sigma, seeds in ((noise, 1), (noise, 10), (None, 3)):
            options = CertifiedSettings(sigma=sigma, seeds=seeds, neutral={"A": 0.0})
            for asked in ("w, p = parameters", "limits, 25% of T"):
                outcomes = []
                for seed in range(instances):
                    rng = np.random.default_rng(seed)
                    truth = LAWS[list(LAWS)[seed % 3]](rng)
                    certificate = certify(truth, QUESTIONS[asked], options, noise=noise, rng=rng)
                    outcomes.append(outcome(truth, certificate, options))
                kind = "estimated" if sigma is None else "declared"
                rows.append({"noise": noise, "sigma": kind, "seeds": seeds, "question": asked, **summary(outcomes)})
    return rows


def without_monotonicity(instances: int) -> list[dict[str, Any]]:
    """What happens where M(0) is false, noise-free, A neutral, 20 audited: how often it is seen, how often it lies."""

    def off_by(spread: float) -> Callable[[np.random.Generator], np.ndarray]:
        return lambda rng: rng.uniform(1 - spread, 1, len(POINTS))

    def hidden(rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(len(POINTS)) < 0.02, 0.7, 1.0)

    rows = []
    for kind, factors, tau in (
        ("each error lower by up to 4%", off_by(0.04), 0.0),
        ("each error lower by up to 4%", off_by(0.04), 0.04),
        ("each error lower by up to 50%", off_by(0.5), 0.0),
        ("2% of the candidates have 70% of their error", hidden, 0.0),
    ):
        options = CertifiedSettings(sigma=0.0, seeds=1, neutral={"A": 0.0}, audit=20, tau=tau)
        outcomes = []
        for seed in range(instances):
            rng = np.random.default_rng(seed)
            truth = LAWS[list(LAWS)[seed % 3]](rng) * factors(rng)
            certificate = certify(truth, QUESTIONS["w, p = parameters"], options, noise=0.0, rng=rng)
            outcomes.append(outcome(truth, certificate, options))
        rows.append({"violation": kind, "tau": tau, **summary(outcomes)})
    return rows


def least_gap() -> list[dict[str, float]]:
    """The gap left by noise alone, between two candidates of equal score, over 300 comparisons at 95%."""
    rows = []
    for noise in (0.003, 0.01, 0.03):
        for seeds in (1, 3, 10, 100):
            half = Noise(noise).half_width(seeds, alpha=0.05, comparisons=303)
            rows.append({"noise": noise, "seeds": seeds, "gap": round(float(np.expm1(2 * half)), 4)})
    return rows


def at_scale() -> dict[str, Any]:
    """Seconds of the search itself on 10,000 candidates, all of four sizes from 1 to 10; a gap of 5%."""
    points = np.stack(np.meshgrid(*[np.arange(1, 11)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    size = np.sqrt(points.prod(axis=1))
    error = np.prod(points ** -np.array([0.3, 0.2, 0.1, 0.25]), axis=1)
    options = CertifiedSettings(sigma=0.0, seeds=1)
    top = float(size.max() * 1.3)
    record = {
        "space": None,
        "parameters": {name: points[:, j].tolist() for j, name in enumerate("DHIK")},
        "equal": [],
        "objectives": {"size": size.tolist()},
        "choice": {
            "objective": "w",
            "size": "size",
            "speed": ["size", "size"],
            "exponents": [1, 1],
        },
        "maximum": {"size": top},
        "assumptions": options.assumptions(),
        "alpha": 0.05,
        "target": 0.05,
    }
    start = time.perf_counter()
    found = search(record, size, lambda row, seed: float(error[row]), options)
    searched = time.perf_counter() - start
    sealed = seal(found)
    rows = [entry["row"] for entry in found["evaluations"]]
    return {
        "candidates": len(points),
        "evaluations": len(rows),
        "cost": round(float(size[rows].sum() / size.sum()), 4),
        "search_seconds": round(searched, 1),
        "seal_seconds": round(time.perf_counter() - start - searched, 1),
        "gap": sealed["result"]["gap"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certificates.json"))
    arguments = parser.parse_args()
    results = {
        "space": SPACE.name,
        "candidates": len(POINTS),
        "gap": 0.05,
        "alpha": 0.05,
        "without_noise": without_noise(arguments.instances),
        "with_noise": with_noise(5 * arguments.instances),
        "without_monotonicity": without_monotonicity(5 * arguments.instances),
        "least_gap": least_gap(),
        "scale": at_scale(),
    }
    write_json(arguments.out, results)
    for part in ("without_noise", "with_noise", "without_monotonicity", "least_gap"):
        print(part)
        for row in results[part]:
            print("  ", *(f"{key}={value}" for key, value in row.items()))
    print(results["scale"])


if __name__ == "__main__":
    main()
