"""From rows of dev to labelled points: generating points, dropping near-copies of held-out rows, labelling."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

import numpy as np

from fsp.distillation.text.near_copies import near_copies
from fsp.finetuning.examples import Data, Example, normalised
from fsp.finetuning.generators import Generator
from fsp.finetuning.labellers import Labeller


@dataclass
class Counts:
    """Numbers of generated points.

    Attributes:
        generated: all generated points.
        dropped_near_final: dropped near-copies of the test set or the held-out third of dev.
        dropped_known: dropped points that are equal to a row of train or to an earlier point.
        dropped_doubtful: dropped points for which the labeller's confidence was too low.
        kept: points added to train.
        near_dev: kept points that are near-copies of dev.
        as_source: kept points with the label of the row that they were made from; the theory asks for at least half
            of them if τ preserves labels.
    """

    generated: int = 0
    dropped_near_final: int = 0
    dropped_known: int = 0
    dropped_doubtful: int = 0
    kept: int = 0
    near_dev: int = 0
    as_source: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Expansion:
    """Makes labelled points from the rows of dev that a fit classifies wrongly, or from as many random rows.

    Attributes:
        data: the data with the rows of dev.
        generator: τ.
        labeller: S.
        seed: seed of all random choices.
        confidence: points whose likeliest class has a lower probability are dropped.
        soft: train on the labeller's probabilities instead of the likeliest class.
        of: rows to start from, `mistakes` or `random` rows of dev, as many as there are mistakes.
        counts: numbers of points of each call.
    """

    data: Data
    generator: Generator
    labeller: Labeller
    seed: int = 0
    confidence: float = 0.0
    soft: bool = False
    of: str = "mistakes"
    counts: list[Counts] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known = {normalised(one.fields) for one in self.data.train}
        self._random = np.random.default_rng([self.seed, 7])

    def __call__(self, mistakes: Sequence[int], number: int) -> list[Example]:
        """Return the labelled points of a round (from 0) whose best fit classifies the given rows of dev wrongly."""
        rows = list(mistakes)
        if self.of == "random":
            rows = sorted(self._random.choice(len(self.data.dev), len(mistakes), replace=False).tolist())
        texts = [self.data.dev[row].fields for row in rows]
        made = self.generator(texts, np.random.default_rng([self.seed, 4, number]))
        points = [(row, fields) for row, found in zip(rows, made, strict=True) for fields in found]
        if len(points) > self.generator.points * len(rows):
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
            counts.as_source += labelled[-1].label == self.data.dev[row].label
        counts.kept = len(labelled)
        near = near_copies([one.fields for one in labelled], [one.fields for one in self.data.dev])
        counts.near_dev = int(near.sum())
        self.counts.append(counts)
        return labelled

    @property
    def total(self) -> Counts:
        """The sums of the counts of all calls."""
        return sum(self.counts, Counts())
