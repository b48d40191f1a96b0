"""A search: its question, its method and its second look; immutable, and validated when it is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import ClassVar, Protocol

import numpy as np

from fsp.base.defaults import LONGER
from fsp.base.errors import InputError, check_least
from fsp.objectives.anchored import LEAST_ANCHORS
from fsp.search.candidates import Candidates
from fsp.search.candidates import Method as Proposing
from fsp.search.certificates.certificate import seal
from fsp.search.certificates.certified import FRESH_ROUNDS, trials
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.driving import Expect, Trials, in_turn, one_by_one
from fsp.search.halving import check_fidelities, successive_halving
from fsp.search.interval import every_kth, interval_for, order
from fsp.search.maximal import with_audit
from fsp.search.methods import GAP, METHODS, UNLIMITED, record_of
from fsp.search.question import LargestW, Limits

_EVALUATIONS = 16  # default of methods that propose; the default interval gives about this number
_MOST_MAXIMAL = 32  # the most candidates that `maximal` evaluates by default


@dataclass(frozen=True)
class Rows:
    """The rows that a method may evaluate, as far as they are known before any evaluation.

    Attributes:
        rows: rows of the candidates in the order of evaluation; all rows if the errors decide.
        most: the most rows that are evaluated.
        interval: K, None if the method has none.
        maximal: how many of the candidates are maximal, None if the method does not determine it.
        audit: how many of the rows, the last ones, are not maximal and are evaluated to test M.
        again: how many may be evaluated again, on as many fresh seeds.
    """

    rows: Sequence[int]
    most: int
    interval: int | None = None
    maximal: int | None = None
    audit: int = 0
    again: int = 0


class Method(Protocol):
    """How the candidates to evaluate are found."""

    @property
    def name(self) -> str:
        """The name on the command line."""
        ...

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return the rows to evaluate, as far as they are known before any evaluation."""
        ...

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Yield trials, each candidate under all seeds; return a certificate or None. `planned` is what `plan` gave."""
        ...


@dataclass(frozen=True)
class Maximal:
    """The shapes that no other within the limits exceeds in every size, and a few below them to test M.

    Attributes:
        evaluations: the most candidates to evaluate; if there are more maximal ones, the largest are taken.
    """

    evaluations: int = _MOST_MAXIMAL
    name: ClassVar[str] = "maximal"

    def __post_init__(self) -> None:
        _check_evaluations(self.evaluations)

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return the maximal rows from the smallest to the largest, then those of the audit."""
        rows, audit, count = with_audit(
            candidates.parameters, candidates.neutral, candidates.size, candidates.speed, self.evaluations, seed=seed
        )
        return Rows([*rows.tolist(), *audit.tolist()], len(rows) + len(audit), maximal=count, audit=len(audit))

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Ask for the planned rows."""
        yield from in_turn(planned.rows, seeds, expect)
        return None


@dataclass(frozen=True)
class Interval:
    """Every K-th candidate in the order of (p, i), counted from the largest: the paper's FPTAS.

    Attributes:
        interval: K; None for the one that evaluates about 16 candidates.
    """

    interval: int | None = None
    name: ClassVar[str] = "interval"

    def __post_init__(self) -> None:
        if self.interval is not None and not (isinstance(self.interval, Integral) and self.interval >= 1):
            raise InputError(f"interval {self.interval} is out of range; choose 1 or more")

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return every K-th row from the smallest to the largest. Raises InputError where K is out of range."""
        interval = interval_for(len(candidates), _EVALUATIONS) if self.interval is None else self.interval
        rows = every_kth(order(candidates.size, candidates.speed, candidates.parameters, seed=seed), interval)
        return Rows(rows.tolist(), len(rows), interval=interval)

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Ask for the planned rows."""
        yield from in_turn(planned.rows, seeds, expect)
        return None


@dataclass(frozen=True)
class Halving:
    """Successive halving: all candidates of another method after little training, the best third after more.

    Attributes:
        fidelities: rising numbers of steps, two or more.
        of: the method whose candidates are halved.
    """

    fidelities: tuple[int, ...]
    of: Maximal | Interval = field(default_factory=Maximal)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fidelities", tuple(self.fidelities))
        check_fidelities(self.fidelities)
        if not isinstance(self.of, Maximal | Interval):
            raise InputError("fidelities belong to methods 'maximal' and 'interval'")

    @property
    def name(self) -> str:
        """The name of the method whose candidates are halved."""
        return self.of.name

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return the rows of the first rung."""
        return self.of.plan(candidates, seed=seed)

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Yield the trials of each rung."""
        halving = successive_halving(planned.rows, len(self.fidelities))
        rung, rows = next(halving)
        while True:
            errors = yield from in_turn(rows, seeds, expect, rung)
            scores = np.array([candidates.score(row, error) for row, error in zip(rows, errors, strict=True)])
            try:
                rung, rows = halving.send(scores)
            except StopIteration:
                return None


@dataclass(frozen=True)
class Certified:
    """The candidates that lower the certified gap most, until the gap is proven.

    Attributes:
        gap: the gap to prove, 0.05 for 5%.
        settings: the assumptions and the budget; None for no noise if the error takes no seed, else for three seeds of
            each candidate.
    """

    gap: float = GAP
    settings: CertifiedSettings | None = None
    name: ClassVar[str] = "certified"

    def __post_init__(self) -> None:
        if not 0 <= self.gap < math.inf:
            raise InputError(f"gap {self.gap} is out of range; give a share from 0, e.g. 0.05 for 5%")

    def under(self, seeded: bool) -> CertifiedSettings:
        """Return the settings for an error that takes a seed (`seeded`) or takes none."""
        return self.settings or (CertifiedSettings() if seeded else CertifiedSettings(sigma=0, seeds=1))

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return all rows; the search stops as soon as the gap is proven."""
        settings = self.under(seeded=True)
        count = len(candidates)
        most = min(count, (settings.evaluations or count) + settings.audit)
        return Rows(range(count), most, again=0 if settings.sigma == 0 else min(FRESH_ROUNDS, most))

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Yield the trials that prove the gap, and return the certificate."""
        settings = self.under(seeded=len(seeds) > 1)
        record = record_of(candidates, settings, self.gap)
        return seal((yield from trials(record, candidates.speed, settings, seed=seeds[0], expect=expect)))


@dataclass(frozen=True)
class Proposed:
    """Any method that proposes one candidate after another: those of `METHODS`, or your own.

    Attributes:
        proposing: a name in `fsp.search.methods.METHODS`, or a function like those in it.
        evaluations: the most candidates to evaluate.

    Example:
        >>> Proposed("fitted", 30).name
        'fitted'
    """

    proposing: str | Proposing
    evaluations: int = _EVALUATIONS

    def __post_init__(self) -> None:
        _check_evaluations(self.evaluations)
        if isinstance(self.proposing, str) and self.proposing not in METHODS:
            raise InputError(f"no method {self.proposing!r}; there are {', '.join(METHODS)}")
        if self.proposing == "certified":
            raise InputError("a certified search is Certified(gap), which carries what it assumes")
        if not isinstance(self.proposing, str) and not callable(self.proposing):
            raise InputError(f"{self.proposing!r} is neither a method's name nor a function that proposes rows")

    @property
    def name(self) -> str:
        """The method's name; for a function of your own, the name of the function."""
        return self.proposing if isinstance(self.proposing, str) else getattr(self.proposing, "__name__", "own")

    def plan(self, candidates: Candidates, *, seed: int) -> Rows:
        """Return all rows, some of which will be proposed."""
        unlimited = isinstance(self.proposing, str) and self.proposing in UNLIMITED
        most = len(candidates) if unlimited else min(self.evaluations, len(candidates))
        return Rows(range(len(candidates)), most)

    def trials(self, candidates: Candidates, planned: Rows, seeds: range, expect: Expect) -> Trials:
        """Yield the trials of the proposed rows; the method is sent the mean error over the seeds."""
        propose = METHODS[self.proposing] if isinstance(self.proposing, str) else self.proposing
        return one_by_one(propose(candidates, planned.most, seeds[0]), seeds, planned.most, expect)


def _check_evaluations(evaluations: int) -> None:
    if not isinstance(evaluations, Integral) or evaluations < 1:
        raise InputError(f"evaluations {evaluations} is out of range; give 1 or more, e.g. {_MOST_MAXIMAL}")


@dataclass(frozen=True)
class SecondLook:
    """Longer training of some evaluated candidates, among which the choice is then made.

    Attributes:
        finalists: the most candidates, indistinguishable from the best, that are trained longer; 1 for none.
        anchors: how many candidates, spread over the shapes, are trained longer so that a law fitted to them predicts
            the longer error of all others, by which finalists are picked; 0 for none.
        longer: factor on their training steps; for an error of no steps, the number of steps.
    """

    finalists: int = 3
    anchors: int = 0
    longer: int = LONGER

    def __post_init__(self) -> None:
        check_least(vars(self), anchors=0)
        if not isinstance(self.finalists, Integral) or self.finalists < 1:
            raise InputError(f"finalists {self.finalists} is out of range; give 1 for no second look, or more")
        if self.anchors and self.anchors < LEAST_ANCHORS:
            raise InputError(f"anchors {self.anchors} is out of range; give {LEAST_ANCHORS} or more, or 0 for none")
        if not isinstance(self.longer, Integral) or self.longer < 1:
            raise InputError(
                f"longer {self.longer} is out of range; give how many times the training finalists get, e.g. 8"
            )


@dataclass(frozen=True)
class Search:
    """A search that can be applied to any space.

    Attributes:
        question: `Limits` or `LargestW`.
        method: `Maximal`, `Interval`, `Certified`, `Halving`, `Proposed` or one of your own.
        second_look: longer training of the best, None for none.
        seeds: evaluations of each candidate, under `seed`, `seed` + 1, ...; its error is their geometric mean.
        seed: seed of the evaluations, and of the order among exact ties.

    Raises:
        InputError: the parts do not go together, or a number is out of range.

    Example:
        >>> Search(Limits({"operations": "20%"}), Proposed("fitted", 30)).method.name
        'fitted'
    """

    question: Limits | LargestW = field(default_factory=Limits)
    method: Method = field(default_factory=Maximal)
    second_look: SecondLook | None = None
    seeds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.question, Limits | LargestW):
            raise InputError(f"{self.question!r} is no question; give Limits(...) or LargestW(...)")
        if isinstance(self.method, type) or not all(hasattr(self.method, name) for name in ("name", "plan", "trials")):
            raise InputError(
                f"{self.method!r} is no method; give e.g. Maximal(), Interval(9) or Proposed('fitted', 30)"
            )
        if not isinstance(self.second_look, SecondLook | None):
            raise InputError(f"{self.second_look!r} is no second look; give SecondLook(...) or None")
        check_least(vars(self), seed=0)
        if not isinstance(self.seeds, Integral) or self.seeds < 1:
            raise InputError(f"seeds {self.seeds} is out of range; evaluate each candidate at least once")
        method = self.method.of if isinstance(self.method, Halving) else self.method
        maximal = isinstance(method, Maximal) or (isinstance(method, Proposed) and method.proposing == "maximal")
        if maximal and isinstance(self.question, LargestW):
            raise InputError(
                "the largest W need not be a maximal shape's; use method 'interval' or 'certified', or objective "
                "'limits'"
            )
        if isinstance(self.method, Certified):
            if self.second_look is not None:
                raise InputError(
                    "a certified choice is not re-ranked, as it is proven for the search's error; leave finalists at 1 "
                    "and anchors at 0"
                )
            if self.seeds > 1:
                raise InputError("the seeds of a certified search are those of its CertifiedSettings; give them there")
        if isinstance(self.method, Halving) and self.second_look is not None:
            raise InputError(
                "fidelities train the best candidates longer already; leave finalists at 1 and anchors at 0"
            )


NAMES = tuple(dict.fromkeys(("maximal", "interval", "certified", *METHODS)))
