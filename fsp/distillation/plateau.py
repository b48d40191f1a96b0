"""The unigram plateau: the loss of a network that uses no context, and which candidates are below it.

Masked language models trained from scratch stay at the loss of the unigram predictor for a long time. As long as all
candidates are there, their ranking reflects noise, or how fast they learnt the frequencies of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from fsp.base.errors import InputError
from fsp.distillation.masking import MASKED, RANDOM, Masking

MARGIN = 0.05  # nats
_SURE = 2  # standard errors
_SMOOTHING = (np.log(0.01), np.log(1000))  # bounds of log(a), which diverges if no token occurs exactly once


def unigram(tokens: NDArray[np.integer], masking: Masking) -> NDArray[np.float64]:
    """Return the logarithms of the best unigram probabilities, one per id; -inf for special tokens.

    Additive smoothing, `(count + a) / (n + a V)`, where `a` maximises the leave-one-out likelihood of the tokens, so
    that rare and unseen tokens get about their probability in held-out text.

    Args:
        tokens: ids of any shape; special tokens are not counted because they are never predicted.
        masking: determines which ids are ordinary.

    Raises:
        InputError: there are fewer than two ordinary tokens.

    Example:
        >>> logs = unigram(np.array([[2, 2, 2, 2, 3, 3]]), Masking(mask_token=1, special=(0, 1), vocabulary=5))
        >>> float(np.exp(logs).sum().round(6))
        1.0
    """
    counts = np.bincount(np.ravel(tokens), minlength=masking.vocabulary)[masking.ordinary].astype(np.float64)
    total, size = counts.sum(), len(counts)
    if total < 2:
        raise InputError("the training text has fewer than two ordinary tokens; give more text")
    seen, times = np.unique(counts[counts > 0], return_counts=True)

    def left_out(log_smoothing: float) -> float:
        smoothing = np.exp(log_smoothing)
        return -float(times @ (seen * np.log((seen - 1 + smoothing) / (total - 1 + smoothing * size))))

    smoothing = np.exp(minimize_scalar(left_out, bounds=_SMOOTHING, method="bounded").x)
    logs = np.full(masking.vocabulary, -np.inf)
    logs[masking.ordinary] = np.log((counts + smoothing) / (total + smoothing * size))
    return logs


def without_context(
    labels: NDArray[np.integer], seen: NDArray[np.integer], logs: NDArray[np.float64], masking: Masking
) -> NDArray[np.float64]:
    """Return the loss in nats of the best predictor that sees only the token at the position to predict.

    At the mask token this is the unigram predictor. Elsewhere the token seen is either the label (it was kept) or a
    random token, with probabilities given by Bayes' rule. A network learns this copying without using any context, and
    it lowers the loss by some tenths of a nat.

    Args:
        labels: the ids to predict, `(n,)`.
        seen: the ids seen at their positions, `(n,)`.
        logs: see `unigram`.
        masking: the masking that produced `seen`.
    """
    probability = np.exp(logs)
    kept = (1 - MASKED - RANDOM) * probability[seen]
    random = RANDOM / len(masking.ordinary)
    with np.errstate(divide="ignore", invalid="ignore"):  # special tokens, including the mask, have probability 0
        copied = ((labels == seen) * kept + random * probability[labels]) / (kept + random)
    return -np.where(seen == masking.mask_token, logs[labels], np.log(copied))


@dataclass(frozen=True)
class Plateau:
    """The losses of predictors without context on the held-out masked positions, in nats per position.

    Attributes:
        unigram: loss of the best unigram predictor.
        copying: loss of the best predictor that also sees the token at the position itself.
        standard_error: standard error of `unigram` over the positions.
        positions: number of positions.

    Example:
        >>> plateau = Plateau(unigram=6.35, copying=5.85, standard_error=0.05, positions=2400)
        >>> plateau.verdict([6.34, 6.41, 6.36]).describe()
        "3 of 3 candidates still sit at or above the unigram loss (6.35 nats): their ranking is noise; train longer or \
use error='distillation'"
    """

    unigram: float
    copying: float
    standard_error: float
    positions: int

    @classmethod
    def of(
        cls,
        train: NDArray[np.integer],
        labels: NDArray[np.integer],
        seen: NDArray[np.integer],
        masking: Masking,
    ) -> "Plateau":
        """Measure the losses of both predictors.

        Args:
            train: token ids that the unigram predictor is fitted on, of any shape.
            labels: held-out ids to predict, `(n,)`.
            seen: the ids seen at their positions, `(n,)`.
            masking: the masking that produced `seen`.
        """
        logs = unigram(train, masking)
        losses = -logs[labels]
        return cls(
            float(losses.mean()),
            float(without_context(labels, seen, logs, masking).mean()),
            float(losses.std(ddof=1) / np.sqrt(len(losses))),
            len(losses),
        )

    def verdict(self, errors: Sequence[float], *, margin: float = MARGIN) -> "PlateauVerdict":
        """Judge the held-out losses of candidates that were trained from scratch.

        A loss is clearly below another if it is lower by `margin` plus two standard errors. The standard error is
        that of the unigram loss; a difference over the same positions has a smaller one, so the test is strict.

        Args:
            errors: losses in nats per masked position, without those of failed candidates.
            margin: in nats.

        Raises:
            InputError: there is no error.
        """
        losses = np.asarray(errors, dtype=np.float64)
        if not len(losses):
            raise InputError("no candidate was evaluated; there is nothing to judge")
        clear = margin + _SURE * self.standard_error
        left = losses < self.unigram - clear
        context = losses < min(self.unigram, self.copying) - clear
        return PlateauVerdict(self, clear, len(losses), int(left.sum()), int(context.sum()), _spread(losses[context]))


def _spread(losses: NDArray[np.float64]) -> float:
    return float(np.ptp(losses)) if len(losses) else 0.0


@dataclass(frozen=True)
class PlateauVerdict:
    """A judgement of candidates that were trained from scratch.

    Attributes:
        plateau: the losses that they are compared with.
        clear: how far below these a loss must lie, in nats.
        candidates: number of candidates.
        left: number of candidates clearly below the unigram loss.
        context: number of candidates that are also clearly below the copying loss, so they must use context.
        spread: the largest difference between the losses of the latter, in nats.
    """

    plateau: Plateau
    clear: float
    candidates: int
    left: int
    context: int
    spread: float

    @property
    def ranks(self) -> bool:
        """Whether the order of the candidates can be meaningful: all use context, and they differ clearly."""
        return self.candidates == self.context > 1 and self.spread > self.clear

    def describe(self) -> str:
        """Return the verdict in one line."""
        plateau, n = self.plateau, self.candidates
        advice = "train longer or use error='distillation'"
        where = f"the unigram loss ({plateau.unigram:.2f} nats)"
        if not self.left:
            return f"{n} of {n} candidates still sit at or above {where}: their ranking is noise; {advice}"
        if not self.context:
            return (
                f"{self.left} of {n} candidates have left {where}, none has passed what copying gives without context "
                f"({plateau.copying:.2f} nats): their ranking says nothing of language; {advice}"
            )
        if self.context < n:
            return (
                f"{self.context} of {n} candidates have left {where} and use context; "
                f"among the other {n - self.context} the ranking is noise; {advice}"
            )
        if not self.ranks:
            return f"all {n} candidates have left {where}, but lie within {self.clear:.2f} nats: {advice}"
        apart = f"lie {self.spread:.2f} nats apart"
        return f"all {n} candidates have left {where} and {apart}: their ranking can mean something"
