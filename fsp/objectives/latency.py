"""`calibrated`: the latency of every candidate of a space, predicted from measurements of a few.

A network is C(B_n(...B_1(A(x)))), so its latency is that of input and output plus its depth times a layer's:

    t(D, x) = a(H) + D b(x),  a(H) = a_0 + a_1 H,  b(x) = sum_k w_k phi_k(x)

x being the parameters other than D and phi_k their products up to degree 2 (H², HI, AH, ...). Layer shapes are measured
at two depths each, which tells b from a: a layer timed alone would find its input in the processor's cache. The two are
the least and the largest, as a deep network's weights do not all stay in the cache, which a slope between shallow ones
would not see. All coefficients are non-negative and fitted together to the least squared relative error; they smooth
the noise of the single slopes, and predict the layer shapes that were not measured.
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
KEPT = "calibrated"  # the speed that is the calibration kept on this device
_SCHEMA = 1


@dataclass(frozen=True)
class Timed:
    """Candidates and their latencies. points: `n x d`. milliseconds: `(n,)`."""

    points: NDArray[np.int64]
    milliseconds: NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A predictor of latency for one space on one device.

    names: the space's parameters, the columns of points. law: see above, in milliseconds. maximum_ms: T's latency as
    measured. fitted: what the law was fitted to. held_out: what it was not, and noise: the mean relative difference
    of two separate measurements of the same held-out candidates. share: what measuring T and the fitted candidates
    takes, of what measuring every candidate would. settings: space, batch, length, threads, rounds. environment: see
    `fsp.base.fingerprint`.
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
        """Return what is known of the predictor's accuracy as a JSON-like value; errors and shares are fractions."""
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
        """Return what was measured and what is predicted of it, as a JSON-like value: `fitted` and `held_out`."""
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
    """Return the calibration in a file. Raises InputError where it is none, or of another version."""
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
    """Return where the calibration of a space is kept on this device, for torch's present number of threads.

    Below `$XDG_CACHE_HOME/fsp/latency`, by default `~/.cache/fsp/latency`. The name changes with the space, the
    inputs and the device; not with the sizes of embedding tables, of which a look-up's time is independent.
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
        speed: `calibrated`, for the calibration of the usual inputs kept on this device; or a calibration's file.

    Raises:
        InputError: there is none, or the file's is of another space.
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
    """Return the law fitted to measured candidates, as above."""
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
        cost: about what each candidate takes, `(n,)`, e.g. its operations.
        share: the most they may take of what all candidates take together.

    Raises:
        InputError: no parameter D, no layer shape at two depths, or a share that does not suffice for three of them.
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
    """Return rows in such an order that each next one is the farthest from those before it, the largest first."""
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
