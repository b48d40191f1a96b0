"""The flat options of a search, for `fsp run`, `fsp extract` and the Python call; imports nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

from fsp.base.defaults import LONGER
from fsp.base.errors import InputError
from fsp.base.option import SEED, Option
from fsp.search.certificates.settings import CertifiedSettings

if TYPE_CHECKING:
    from fsp.search.settings import Method, Search
    from fsp.spaces.space import SearchSpace

_FINALISTS = Option("Train at most this many near-equals of the best longer, then choose among them; 1: none.")


@dataclass(frozen=True)
class LeastError:
    """The options of a search for the least error within limits, as `fsp run` takes them.

    Attributes:
        limits: see `fsp.search.question.Limits`.
    """

    limits: Mapping[str, float | str] | None = None
    method: Annotated[
        str | None,
        Option(
            "maximal: the shapes that no other within the limits exceeds in every size; interval: every K-th by size, "
            "the paper's; certified: until the gap is proven (fsp extract alone); or fitted, random, tpe, gp, nsga2, "
            "params, params-ascending, exhaustive, as in fsp replay search.",
            shown="maximal; interval for W, with --interval, or where the space says so",
        ),
    ] = None
    interval: Annotated[
        int | None,
        Option(
            "For interval: evaluate every K-th candidate, the largest included.",
            shown="such that about 16 are evaluated",
        ),
    ] = None
    evaluations: Annotated[
        int | None,
        Option("The most candidates to evaluate; not for interval and certified.", shown="32 for maximal, else 16"),
    ] = None
    finalists: Annotated[int, _FINALISTS] = 3
    anchors: Annotated[
        int,
        Option("Train this many candidates longer; a law predicts the longer error of the others; 0: none."),
    ] = 0
    longer: Annotated[int, Option("How many times the steps finalists and anchors get.")] = LONGER
    seed: Annotated[int, SEED] = 0

    def search(self, space: "SearchSpace") -> "Search":
        """Return the search; its method defaults to the space's, see `SearchOptions.search`."""
        return SearchOptions(**{one.name: getattr(self, one.name) for one in fields(self)}).search(space)


@dataclass(frozen=True)
class SearchOptions(LeastError):
    """The options of any search, as `fsp extract` and `fsp.extract` take them.

    Attributes:
        limits: see `fsp.search.question.Limits`.
        size: for W, see `fsp.search.question.LargestW`.
        exponents: for W, see `fsp.search.question.LargestW`.
        certified: for `certified`, see `fsp.search.settings.Certified`.
        fidelities: for `maximal` and `interval`, see `fsp.search.settings.Halving`.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> [SearchOptions().search(load_space(name)).method.name for name in ("minilm", "bert_large")]
        ['maximal', 'interval']
    """

    finalists: Annotated[int, _FINALISTS] = 1
    objective: Annotated[str, Option("limits: least error within the limits; w: largest W-coefficient.")] = "limits"
    size: Literal["parameters", "encoder_parameters"] = "parameters"
    exponents: tuple[float, float] = (1.0, 1.0)
    gap: Annotated[float, Option("For certified, the gap to prove: 0.05 for 5%.")] = 0.05
    certified: CertifiedSettings | None = None
    fidelities: Sequence[int] | None = None
    seeds: Annotated[int | None, Option("Evaluations of each candidate, one per seed.", shown="1; certified: 3")] = None

    def search(self, space: "SearchSpace") -> "Search":
        """Return the search.

        The default method is `interval` for W or if an interval is given, else the space's method, else `maximal`.

        Raises:
            InputError: an objective or method is unknown, options do not go together, or a number is out of range.
        """
        from fsp.search.question import asked
        from fsp.search.settings import Search, SecondLook

        question = asked(self.objective, self.limits, self.size, self.exponents)
        look = SecondLook(self.finalists, self.anchors, self.longer)
        seeds = 1 if self.seeds is None else self.seeds
        second = look if self.finalists > 1 or self.anchors else None
        return Search(question, self._method(space), second, seeds, self.seed)

    def _method(self, space: "SearchSpace") -> "Method":
        from fsp.search.methods import UNLIMITED
        from fsp.search.settings import NAMES, Certified, Halving, Interval, Maximal, Proposed

        name = self.method
        if name is None:
            by_interval = self.objective == "w" or self.interval is not None
            name = "interval" if by_interval else space.method or "maximal"
        if name not in NAMES:
            raise InputError(f"no method {name!r}; there are {', '.join(NAMES)}")
        if name != "interval" and self.interval is not None:
            raise InputError(f"an interval belongs to method 'interval'; leave it out for {name!r}")
        if name in ("interval", "certified", *UNLIMITED) and self.evaluations is not None:
            raise InputError(f"a number of evaluations does not belong to method {name!r}; leave it out")
        budget = {} if self.evaluations is None else {"evaluations": self.evaluations}
        certified = Certified(self.gap, self.certified if name == "certified" else None)  # checks the gap
        if name == "certified":
            made: Method = certified
        elif name == "interval":
            made = Interval(self.interval)
        else:
            made = Maximal(**budget) if name == "maximal" else Proposed(name, **budget)
        if not self.fidelities:
            return made
        if not isinstance(made, Maximal | Interval):
            raise InputError(f"fidelities belong to methods 'maximal' and 'interval'; leave them out for {name!r}")
        return Halving(tuple(self.fidelities), made)
