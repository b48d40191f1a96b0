"""`calibrated`: the latency of every candidate of a space, predicted from measurements of a few.

A network is C(B_n(...B_1(A(x)))), so its latency is that of input and output plus its depth times that of a layer:

    t(D, x) = a(H) + D b(x),  a(H) = a_0 + a_1 H,  b(x) = sum_k w_k phi_k(x)

Here x are the parameters other than D, and phi_k their products up to degree 2 (H², HI, AH, ...). Each layer shape is
measured at two depths, which separates b from a; a layer timed alone would find its input in the processor's cache. The
two are the least and the largest depth, because a deep network's weights do not all stay in the cache, and a slope
between two shallow networks would miss that. All coefficients are non-negative and fitted together by least squared
relative error, which smooths the noise of single slopes and predicts the layer shapes that were not measured.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.defaults import BATCH, LENGTH
from fsp.base.errors import InputError
from fsp.base.files import digest, read_json, write_json
from fsp.base.fingerprint import fingerprint
from fsp.objectives.products import Products, fit_terms, products_up_to, relative_errors
from fsp.spaces.space import SearchSpace

DEPTH, WIDTH = "D", "H"
KEPT = "calibrated"  # the name of the speed given by the calibration kept on this device
_SCHEMA = 1


@dataclass(frozen=True)
class Timed:
    """Candidates and their latencies.

    Attributes:
        points: the candidates, `n x d`.
        milliseconds: their latencies, `(n,)`.
    """

    points: NDArray[np.int64]
    milliseconds: NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A predictor of latency for one space on one device.

    Attributes:
        names: the space's parameters, the columns of points.
        law: predicts milliseconds; see the description of this module.
        maximum_ms: measured latency of T.
        fitted: the measurements that the law was fitted to.
        held_out: the other measurements.
        noise: mean relative difference of two separate measurements of the same held-out candidates.
        share: cost of measuring T and the fitted candidates, relative to measuring every candidate.
        settings: space, batch, length, threads, rounds.
        environment: see `fsp.base.fingerprint`.
    """

    names: tuple[str, ...]
    law: Products
    maximum_ms: float
    fitted: Timed
    held_out: Timed
    noise: float
    share: float
    settings: dict[str, Any]
    environment: dict[str, Any]

    def __call__(self, points: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the predicted milliseconds `(n,)` of an `n x d` array of architectures."""
        return self.law(points.astype(np.float64))

    def describe(self) -> dict[str, Any]:
        """Return the predictor's accuracy as a JSON-like value; errors and shares are fractions."""
        from scipy.stats import spearmanr

        predicted = self(self.held_out.points)
        errors = relative_errors(predicted, self.held_out.milliseconds)
        return {
            **self.settings,
            "mape": float(errors.mean()),
            "within_5_percent": float((errors <= 0.05).mean()),
            "within_10_percent": float((errors <= 0.10).mean()),
            "spearman": float(spearmanr(predicted, self.held_out.milliseconds).statistic),
            "n_train": len(self.fitted.points),
            "n_test": len(errors),
            "noise": self.noise,
            "share_of_cost": self.share,
            "maximum_ms": self.maximum_ms,
            "law": self.law.describe(self.names),
            "environment": self.environment,
        }

    def measurements(self) -> dict[str, list[dict[str, Any]]]:
        """Return measured and predicted latencies as a JSON-like value: `fitted` and `held_out`."""
        return {
            name: [
                {"architecture": dict(zip(self.names, point, strict=True)), "measured_ms": taken, "predicted_ms": told}
                for point, taken, told in zip(
                    timed.points.tolist(), timed.milliseconds.tolist(), self(timed.points).tolist(), strict=True
                )
            ]
            for name, timed in (("fitted", self.fitted), ("held_out", self.held_out))
        }

    def save(self, path: Path) -> None:
        """Write the calibration to a JSON file in one step."""
        timed = {
            name: {"points": found.points.tolist(), "milliseconds": found.milliseconds.tolist()}
            for name, found in (("fitted", self.fitted), ("held_out", self.held_out))
        }
        law = {
            "terms": [list(term) for term in self.law.terms],
            "weights": self.law.weights.tolist(),
            "scale": self.law.scale.tolist(),
        }
        write_json(
            path,
            {"schema": _SCHEMA, "names": list(self.names), "coefficients": law, **timed, "accuracy": self.describe()},
        )


def load_calibration(path: Path) -> Calibration:
    """Return the calibration in a file. Raises InputError if it is not one, or one of another version."""
    held = read_json(path)
    try:
        if held["schema"] != _SCHEMA:
            raise ValueError
        law, accuracy = held["coefficients"], held["accuracy"]
        fitted, held_out = (
            Timed(
                np.array(held[name]["points"], dtype=np.int64), np.array(held[name]["milliseconds"], dtype=np.float64)
            )
            for name in ("fitted", "held_out")
        )
        return Calibration(
            tuple(held["names"]),
            Products(
                tuple(tuple(int(j) for j in term) for term in law["terms"]),
                np.array(law["weights"], dtype=np.float64),
                np.array(law["scale"], dtype=np.float64),
            ),
            float(accuracy["maximum_ms"]),
            fitted,
            held_out,
            float(accuracy["noise"]),
            float(accuracy["share_of_cost"]),
            {name: accuracy[name] for name in ("space", "batch", "length", "threads", "rounds")},
            dict(accuracy["environment"]),
        )
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is no calibration of this version of fsp; run fsp latency calibrate again") from None


def path_for(space: SearchSpace, *, batch: int = BATCH, length: int = LENGTH) -> Path:
    """Return where the calibration of a space is kept on this device, for torch's current number of threads.

    The path is below `$XDG_CACHE_HOME/fsp/latency`, by default `~/.cache/fsp/latency`. The name depends on the space,
    the inputs and the device, but not on the sizes of embedding tables, as the time of a look-up does not.
    """
    described = space.describe()
    of_space = {key: described[key] for key in ("family", "parameters", "rules", "maximum")}
    key = digest({**of_space, "batch": batch, "length": length, "device": fingerprint()})
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "fsp" / "latency" / f"{space.name}-{key}.json"


def stored(space: SearchSpace, speed: str = KEPT) -> Calibration:
    """Return a space's calibration.

    Args:
        space: the search space.
        speed: `calibrated` for the calibration kept on this device for the default inputs, or a calibration's path.

    Raises:
        InputError: there is no calibration, or it belongs to another space.
    """
    return _kept(space) if speed == KEPT else _in_file(space, Path(speed))


def _kept(space: SearchSpace) -> Calibration:
    path = path_for(space)
    if not path.exists():
        threads = fingerprint()["threads"]
        others = len(list(path.parent.glob(f"{space.name}-*.json")))
        beside = f" ({others} for other inputs, devices, versions or threads in {path.parent})" if others else ""
        raise InputError(
            f"space {space.name} is not calibrated for this device with {threads} threads, batch {BATCH} and {LENGTH} "
            f"tokens{beside}; run: fsp latency calibrate {space.name} --threads {threads}, or name a calibration's file"
        )
    return load_calibration(path)


def _in_file(space: SearchSpace, path: Path) -> Calibration:
    if not path.is_file():
        raise InputError(f"no speed {str(path)!r}; there are operations, {KEPT}, and any file of a calibration")
    calibration = load_calibration(path)
    if calibration.settings["space"] != space.name:
        raise InputError(f"{path} is a calibration of {calibration.settings['space']}, not of space {space.name}")
    candidates = set(map(tuple, space.candidates.tolist()))
    if calibration.names != space.names or not candidates.issuperset(map(tuple, calibration.fitted.points.tolist())):
        raise InputError(f"{path} is a calibration of another {space.name}; run fsp latency calibrate again")
    return calibration


def fit(space: SearchSpace, timed: Timed) -> Products:
    """Return the law described above, fitted to measured candidates."""
    points = timed.points.astype(np.float64)
    depth = space.names.index(DEPTH)
    others = [j for j in range(len(space.names)) if j != depth]
    ends = [(), *((j,) for j in others if space.names[j] == WIDTH)]
    layers = [(depth, *term) for term in products_up_to(2, others)]
    return fit_terms(points, timed.milliseconds, [*ends, *layers])


def design(space: SearchSpace, cost: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Return the rows of the candidates to measure: layer shapes far from each other, at their least and largest depth.

    Args:
        space: the search space.
        cost: approximate cost of measuring each candidate, `(n,)`, e.g. its operations.
        share: upper limit of their cost, as a share of the cost of all candidates.

    Raises:
        InputError: the space has no parameter D or no layer shape at two depths, or `share` is too small.
    """
    if DEPTH not in space.names:
        raise InputError(f"space {space.name} has no depth D to calibrate by; measure its networks instead")
    points = space.candidates
    depth = space.names.index(DEPTH)
    rest = np.delete(points, depth, axis=1)
    shapes, group = np.unique(rest, axis=0, return_inverse=True)
    group = group.ravel()
    pairs: dict[int, tuple[int, int]] = {}
    for k in range(len(shapes)):
        rows = np.flatnonzero(group == k)
        rows = rows[points[rows, depth].argsort(kind="stable")]
        if len(rows) > 1:
            pairs[k] = (int(rows[0]), int(rows[-1]))
    if not pairs:
        raise InputError(f"space {space.name} has no layer shape at two depths; there is no slope to measure")
    budget = share * float(cost.sum())
    chosen: list[int] = []
    for k in _far_apart(shapes, list(pairs)):
        price = float(cost[list(pairs[k])].sum())
        if price <= budget:
            chosen.append(k)
            budget -= price
    if len(chosen) < 3:
        raise InputError(f"{share:.0%} of the candidates' cost suffices for {len(chosen)} layer shapes; give more")
    return np.array([row for k in chosen for row in pairs[k]])


def _far_apart(shapes: NDArray[np.int64], allowed: list[int]) -> list[int]:
    """Return rows ordered so that each is the farthest from those before it; the largest comes first."""
    logs = np.log(shapes[allowed])
    spread = logs.max(axis=0) - logs.min(axis=0)
    places = (logs - logs.min(axis=0)) / np.where(spread > 0, spread, 1)
    order = [int(places.sum(axis=1).argmax())]
    distance = np.linalg.norm(places - places[order[0]], axis=1)
    while len(order) < len(allowed):
        distance[order] = -1
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[order[-1]], axis=1))
    return [allowed[k] for k in order]
