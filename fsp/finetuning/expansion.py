"""From mistakes to labelled points: generating, dropping near-copies of what must stay unseen, labelling, counting."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

import numpy as np

from fsp.finetuning.examples import Data, Example, normalised
from fsp.finetuning.generators import Generator
from fsp.finetuning.labellers import Labeller
from fsp.finetuning.near_copies import near_copies


@dataclass
class Counts:
    """What became of the generated points.

    generated: all of them. dropped_near_final: near-copies of the test set or the held-out third of dev.
    dropped_known: equal to a row of train or to a point that is there already. dropped_doubtful: the labeller's
    confidence was too low. kept: added to train. near_dev: of those, near-copies of dev.
    """

    generated: int = 0
    dropped_near_final: int = 0
    dropped_known: int = 0
    dropped_doubtful: int = 0
    kept: int = 0
    near_dev: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Expansion:
    """Makes labelled points out of dev rows that a fit got wrong.

    data: its dev gives the rows. generator, labeller: τ and S. seed: of the generator, with the round's number.
    confidence: points whose likeliest class has a lower probability are dropped. soft: the labeller's probabilities
    are trained on instead of the likeliest class. counts: of all calls.
    """

    data: Data
    generator: Generator
    labeller: Labeller
    seed: int = 0
    confidence: float = 0.0
    soft: bool = False
    counts: list[Counts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known = {normalised(one.fields) for one in self.data.train}

    def __call__(self, mistakes: Sequence[int], number: int) -> list[Example]:
        """Return the labelled points made of rows of dev in a round, counted from 0."""
        texts = [self.data.dev[row].fields for row in mistakes]
        made = self.generator(texts, np.random.default_rng([self.seed, 4, number]))
        points = [(row, fields) for row, found in zip(mistakes, made, strict=True) for fields in found]
        if len(points) > self.generator.points * len(mistakes):
            raise AssertionError("a generator made more points than it may")
        counts = Counts(generated=len(points))
        copies = near_copies([fields for _, fields in points], [one.fields for one in self.data.final])
        counts.dropped_near_final = int(copies.sum())
        fresh = []
        for (row, fields), copy in zip(points, copies, strict=True):
            if not copy:
                key = normalised(fields)
                if key in self._known:
                    counts.dropped_known += 1
                else:
                    self._known.add(key)
                    fresh.append((row, fields))
        labelled = []
        for (row, fields), spread in zip(fresh, self.labeller([fields for _, fields in fresh]), strict=True):
            if spread.max() < self.confidence:
                counts.dropped_doubtful += 1
                continue
            target = tuple(float(p) for p in spread) if self.soft else None
            labelled.append(Example(fields, int(spread.argmax()), target, row))
        counts.kept = len(labelled)
        near = near_copies([one.fields for one in labelled], [one.fields for one in self.data.dev])
        counts.near_dev = int(near.sum())
        self.counts.append(counts)
        return labelled

    @property
    def total(self) -> Counts:
        """The counts of all calls together."""
        return sum(self.counts, Counts())
