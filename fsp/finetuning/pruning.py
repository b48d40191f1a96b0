"""Pruning rules: which hyperparameter sets are removed after a round. Each removes at least one, so Θ always shrinks.

The paper sorts Θ by accuracy and removes "the sets in the longest common sequence rooted at the first element";
docs/agora.md lists what that leaves open and how each rule interprets it.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple

from fsp.base.errors import InputError
from fsp.finetuning.theta import Hyperparameters

Rule = Callable[[Sequence[Hyperparameters], Sequence[float]], set[int]]


def longest_run(sets: Sequence[Hyperparameters]) -> int:
    """Return the largest number of consecutive sets after the first that share the same coordinate with it.

    A coordinate with the same value in all sets does not count.

    Example:
        >>> from fsp.finetuning.theta import grid
        >>> longest_run(grid(learning_rate=[1e-4, 1e-5], batch=[8, 16]))  # the first two share the learning rate
        1
    """
    root, *others = map(astuple, sets)
    longest = 0
    for coordinate, value in enumerate(root):
        if all(other[coordinate] == value for other in others):
            continue
        run = next(k for k, other in enumerate(others) if other[coordinate] != value)
        longest = max(longest, run)
    return longest


def lcs_paper(sets: Sequence[Hyperparameters], accuracies: Sequence[float]) -> set[int]:
    """Sort best first; remove the first and the longest run after it that shares a coordinate with it, as written."""
    order = sorted(range(len(sets)), key=lambda i: (-accuracies[i], i))
    return set(order[: 1 + longest_run([sets[i] for i in order])])


def lcs_keep(sets: Sequence[Hyperparameters], accuracies: Sequence[float]) -> set[int]:
    """Sort worst first; remove the first and the longest run after it that shares a coordinate; keep the best."""
    order = _worst_first(accuracies)
    return _all_but_best(order, order[: 1 + longest_run([sets[i] for i in order])])


def ties(sets: Sequence[Hyperparameters], accuracies: Sequence[float]) -> set[int]:
    """Remove all sets that are as accurate as the worst; keep the best."""
    order = _worst_first(accuracies)
    return _all_but_best(order, [i for i in order if accuracies[i] == accuracies[order[0]]])


def halving(sets: Sequence[Hyperparameters], accuracies: Sequence[float]) -> set[int]:
    """Remove the worse half, rounded down, and at least one."""
    return set(_worst_first(accuracies)[: max(1, len(sets) // 2)])


RULES: dict[str, Rule] = {"lcs-keep": lcs_keep, "lcs-paper": lcs_paper, "ties": ties, "halving": halving}


def pruning_rule(name: str) -> Rule:
    """Return a rule by name. Raises InputError if there is none."""
    if name not in RULES:
        raise InputError(f"no pruning rule {name!r}; there are {', '.join(RULES)}")
    return RULES[name]


def _worst_first(accuracies: Sequence[float]) -> list[int]:
    """Return the sets from worst to best, ties by index, with the incumbent, the first of the most accurate, last."""
    best = max(range(len(accuracies)), key=lambda i: (accuracies[i], -i))
    return sorted(range(len(accuracies)), key=lambda i: (accuracies[i], i == best, i))


def _all_but_best(order: Sequence[int], going: Sequence[int]) -> set[int]:
    """Return the sets to remove without the incumbent, which stays unless it is the only set."""
    return set(going) - {order[-1]} or {order[0]}
