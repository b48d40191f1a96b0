"""The error `fitted`: a power law of the sizes and the training steps that replaces evaluations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fsp.base.errors import InputError
from fsp.base.files import digest, read_json, write_json
from fsp.base.version import __version__
from fsp.objectives.power_law import PowerLaw, fit_power_law, least_groups

Floats = NDArray[np.float64]
Shapes = pd.DataFrame | Sequence[Mapping[str, float]]

_FORMAT = "fsp-fitted-error-1"


@dataclass(frozen=True)
class FittedError:
    """A law e = c · Π size^b · (1 + s)^b_s with 90% prediction intervals, fitted on evaluated candidates.

    It is an error function: `law(architecture)` is the predicted error, for `fsp.extract` and the like, and
    `settings` marks all results based on it as fitted. A prediction is the median of the evaluations to expect. The
    interval is for a single evaluation of a new shape chosen in the same way as the fitted ones. It holds between the
    fitted shapes, not for shapes larger than all of them, where the error may deviate from the law towards T's error.

    Attributes:
        parameters: names of the sizes.
        error: name of the column fitted.
        steps: name of the column of training steps; None if all rows had the same.
        at: the training steps at which `law(architecture)` predicts; after `fit` the most of any row.
        rows: number of rows fitted.
        shapes: number of different shapes among them.
        left_out: number of rows whose error was NaN, i.e. failed evaluations.
        digest: digest of the fitted rows, independent of their order.
        law: the fitted power law.

    Example:
        >>> sizes = pd.DataFrame({"D": range(1, 13), "H": [64, 512, 128, 256] * 3})
        >>> law = FittedError.fit(sizes.assign(error=3 / sizes["D"] ** 0.3 / sizes["H"] ** 0.2), parameters=["D", "H"])
        >>> round(law({"D": 24, "H": 1024}), 3) == round(3 / 24**0.3 / 1024**0.2, 3)
        True
        >>> list(law.predict([{"D": 24, "H": 1024}]).columns)
        ['error', 'low', 'high', 'fitted']
    """

    parameters: tuple[str, ...]
    error: str
    steps: str | None
    at: float | None
    rows: int
    shapes: int
    left_out: int
    digest: str
    law: PowerLaw

    @classmethod
    def fit(
        cls, table: pd.DataFrame, *, parameters: Sequence[str], error: str = "error", steps: str | None = None
    ) -> "FittedError":
        """Return the law fitted on a table with one row per evaluation; rows whose error is NaN are left out.

        Args:
            table: different shapes, each in any number of rows (seeds, training steps); at least 12 of them, and two
                more than twice the law's coefficients (one for each size, one for steps, and the constant).
            parameters: columns of the sizes, positive.
            error: column of e, positive.
            steps: column of the training steps s, from 0; enters the law as 1 + s.

        Raises:
            InputError: a column is missing or named twice, a value is not a number or out of range, or there are
                too few shapes.
        """
        names = [*parameters, *([] if steps is None else [steps]), error]
        if not parameters:
            raise InputError("no parameters to fit the error by; name at least one column")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name!r} is named twice; give each column one role")
            if name not in table.columns:
                raise InputError(f"the table has no column {name!r}; its columns are {', '.join(map(str, table))}")
        values = np.column_stack([_numbers(table[name], name) for name in names])
        known = ~np.isnan(values[:, -1])
        values = values[known]
        sizes, errors = values[:, : len(parameters)], values[:, -1]
        for name, column in zip([*parameters, error], [*sizes.T, errors], strict=True):
            _check(column, name)
        shapes, groups = np.unique(sizes, axis=0, return_inverse=True)
        least = least_groups(len(names) - 1)
        if len(shapes) < least:
            raise InputError(f"{len(shapes)} different shapes are too few to fit the error; give at least {least}")
        at = None
        if steps is not None:
            _check(values[:, -2], steps, least=0.0)
            at = float(values[:, -2].max())
        law = fit_power_law(_logs(sizes, None if steps is None else values[:, -2]), np.log(errors), groups.ravel())
        return cls(
            tuple(parameters),
            error,
            steps,
            at,
            len(values),
            len(shapes),
            int((~known).sum()),
            digest({"columns": names, "rows": sorted(values.tolist())}),
            law,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a value depends on besides the architecture, for the study's key."""
        return {
            "error": "fitted",
            "fsp": __version__,
            "parameters": list(self.parameters),
            "steps": self.at,
            "rows": self.digest,
        }

    @property
    def exponents(self) -> dict[str, float]:
        """The exponent of each size, and of 1 + s under the name of its column."""
        names = [*self.parameters, *([] if self.steps is None else [self.steps])]
        return dict(zip(names, self.law.coefficients[1:].tolist(), strict=True))

    def at_steps(self, steps: float) -> "FittedError":
        """Return the law as an error after `steps` training steps. Raises InputError if it was fitted without steps."""
        self._needs_steps(steps)
        return replace(self, at=float(steps))

    def __call__(self, architecture: Mapping[str, float]) -> float:
        """Return the predicted error of an architecture."""
        return float(self.predict([architecture], steps=self.at)["error"].iloc[0])

    def predict(self, shapes: Shapes, *, steps: ArrayLike | None = None) -> pd.DataFrame:
        """Return `error`, the ends `low` and `high` of its 90% interval, and `fitted` (True), one row per shape.

        Args:
            shapes: `n` shapes: a table with the parameters as columns (the result has its index), or architectures.
            steps: training steps, a number or `(n,)`; required if and only if the law was fitted on steps.

        Raises:
            InputError: a parameter is missing or not positive, or steps are missing, superfluous or negative.
        """
        table = shapes if isinstance(shapes, pd.DataFrame) else pd.DataFrame([dict(shape) for shape in shapes])
        log_error, half_width = self.law.predict(self.logs(table, steps))
        columns = {"error": log_error, "low": log_error - half_width, "high": log_error + half_width}
        return pd.DataFrame({name: np.exp(v) for name, v in columns.items()}, index=table.index).assign(fitted=True)

    def logs(self, table: pd.DataFrame, steps: ArrayLike | None = None) -> Floats:
        """Return the variables in which the law is linear: the logarithms of the sizes and of 1 + s, if any, `n x k`.

        Args:
            table: shapes, `n` rows with the parameters as columns.
            steps: as for `predict`, which lists the errors.
        """
        self._needs_steps(steps)
        for name in self.parameters:
            if name not in table.columns:
                raise InputError(f"the shapes have no {name!r}; the law needs {', '.join(self.parameters)}")
        sizes = np.column_stack([_numbers(table[name], name) for name in self.parameters])
        for name, column in zip(self.parameters, sizes.T, strict=True):
            _check(column, name)
        trained = None
        if steps is not None:
            trained = np.asarray(steps, dtype=np.float64)
            if trained.shape not in ((), (len(sizes),)):
                raise InputError(f"steps has shape {trained.shape}; give one number, or one for each of the shapes")
            trained = np.broadcast_to(trained, len(sizes))
            _check(trained, "steps", least=0.0)
        return _logs(sizes, trained)

    def save(self, path: str | Path) -> None:
        """Write the law as JSON; `load` restores it exactly."""
        law = {name: np.asarray(value).tolist() for name, value in vars(self.law).items()}
        write_json(Path(path), {"format": _FORMAT, **vars(self), "parameters": list(self.parameters), "law": law})

    @classmethod
    def load(cls, path: str | Path) -> "FittedError":
        """Return the law in a file that `save` wrote. Raises InputError for any other file."""
        stored = read_json(Path(path))
        try:
            if stored.pop("format") != _FORMAT:
                raise ValueError
            law = {name: np.asarray(value, dtype=np.float64) for name, value in stored.pop("law").items()}
            law["half_width"] = float(law["half_width"])  # type: ignore[assignment]
            result = cls(**{**stored, "parameters": tuple(stored["parameters"])}, law=PowerLaw(**law))  # type: ignore[arg-type]
            terms = 1 + len(result.exponents)
            shapes = {"centre": (terms - 1,), "coefficients": (terms,), "covariance": (terms, terms)}
            if any(law[name].shape != shape or not np.isfinite(law[name]).all() for name, shape in shapes.items()):
                raise ValueError
            if not (math.isfinite(result.law.half_width) and (result.at is None) == (result.steps is None)):
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path} holds no fitted error; fit and save it again") from None
        return result

    def _needs_steps(self, steps: ArrayLike | None) -> None:
        if self.steps is None and steps is not None:
            raise InputError("the law was fitted without training steps; predict without them")
        if self.steps is not None and steps is None:
            raise InputError("the law was fitted on training steps; say at which to predict, steps=...")


def _logs(sizes: Floats, steps: Floats | None) -> Floats:
    return np.log(sizes) if steps is None else np.column_stack([np.log(sizes), np.log1p(steps)])


def _numbers(column: pd.Series, name: str) -> Floats:
    try:
        return column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} holds something that is no number; correct it or leave the row out") from None


def _check(column: Floats, name: str, least: float | None = None) -> None:
    """Raise InputError for values that are not finite, or not positive, or below the least allowed."""
    allowed = np.isfinite(column) & (column > 0 if least is None else column >= least)
    if not allowed.all():
        what = "positive and finite" if least is None else f"finite and from {least:g}"
        raise InputError(f"{name} is {column[int(np.argmin(allowed))]:g} in a row; it must be {what}")
