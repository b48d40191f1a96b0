"""Checking a search space against its family: counts against built networks, and how well AB^nC holds.

AB^nC (arXiv 2010.08512): a network C(B_n(...B_1(A(x)))) whose middle layers B dominate in parameters and operations.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.defaults import BATCH, LENGTH
from fsp.families.architecture import Architecture
from fsp.families.family import Family
from fsp.objectives.counts import operations, sizes
from fsp.spaces.space import SearchSpace, family_of

_BUILT = 12  # networks built besides T
_COUNTED = 100_000  # candidates whose p and i are checked; of a larger space, an evenly spaced sample
_OBJECTIVES: dict[str, Callable[[SearchSpace, NDArray[np.int64]], NDArray[np.int64]]] = {
    "parameters": lambda space, points: sizes(space, points)["parameters"],
    "operations": operations,
}


def check_space(space: SearchSpace) -> dict[str, Any]:
    """Return the results of checking a space by building a sample of its networks and by its closed forms.

    Networks are built on torch's meta device, without memory for weights: T and a dozen evenly spaced candidates.

    Returns:
        `passed` and `problems`: one line each for a network that cannot be built, a count that differs from the
            network's, operations below torch's FLOP count, a broken rule, and p or i above T's.
        `built`: how many networks were built.
        `flops_share`: `least` and `most` share of the operations that torch's FLOP counter (matrix products) counts.
        `middle_share`: for `parameters` and `operations` the `least`, `median` and `most` of the middle layers'
            share over the candidates, and the share of candidates `below_half`; None for a family without D.
        `monotone`: for each size parameter whether `parameters` and `operations` never fall when it grows to
            its next choice, with the others fixed and rules ignored.
        `head_dim`: `least` and `most` of H / A; None for a family without heads that partition H.
        `maximum_breaks`: the rules that T itself breaks, which is allowed.

    Raises:
        InputError: the parameters or constants of the space are not those of its family.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> report = check_space(load_space("mlp"))
        >>> report["passed"], report["monotone"]["D"]
        (True, {'parameters': True, 'operations': True})
    """
    family = family_of(space)
    sample = _evenly(space.candidates, _COUNTED)
    problems = _above_maximum(space, sample)
    shares = []
    shapes = [space.maximum, *space.architectures(_evenly(space.candidates, _BUILT))]
    for shape in shapes:
        assert isinstance(shape, Architecture)
        if shape != space.maximum and (broken := space.broken_rules(shape)):
            problems.append(f"{shape} breaks the rule {broken[0]!r}")
        try:
            shares.append(_compare(space, family, shape, problems))
        except Exception as error:  # a family may raise anything; each exception is one finding
            problems.append(f"{shape} cannot be built: {' '.join(str(error).split())}; add a rule that excludes it")
    return {
        "passed": not problems,
        "problems": problems,
        "built": len(shares),
        "flops_share": {"least": min(shares), "most": max(shares)} if shares else None,
        "middle_share": _middle_share(space, sample) if "D" in space.names else None,
        "monotone": {name: _monotone(space, sample, name) for name in space.sizes},
        "head_dim": head_dims(space) if heads_partition(space) else None,
        "maximum_breaks": space.broken_rules(space.maximum),
    }


def heads_partition(space: SearchSpace) -> bool:
    """Return whether the architectures of a space have A heads that partition the hidden size H."""
    anatomy = family_of(space).anatomy
    return {"A", "H"} <= set(space.names) and (anatomy is None or anatomy.partitions)


def head_dims(space: SearchSpace) -> dict[str, int]:
    """Return the `least` and `most` hidden values per head among the candidates."""
    columns = space.columns(space.candidates)
    dims = columns["H"] // columns["A"]
    return {"least": int(dims.min()), "most": int(dims.max())}


def _compare(space: SearchSpace, family: Family, shape: Architecture, problems: list[str]) -> float:
    """Build one network and compare its counts; return the share of its operations that torch counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    length = min(LENGTH, space.constants.get("positions", LENGTH))
    with torch.device("meta"), torch.no_grad():
        network = family.build(shape, space.constants).eval()
        with FlopCounterMode(display=False) as counter:
            network(**family.inputs(space.constants, batch=BATCH, length=length))
    built = sum(weight.numel() for weight in network.parameters())
    point = space.point(shape)
    counted = int(sizes(space, point)["parameters"][0])
    if built != counted:
        problems.append(f"{shape} has {built:,} parameters, and family {space.family_name} counts {counted:,}")
    work = int(operations(space, point, length=length)[0])
    if counter.get_total_flops() > work:
        problems.append(
            f"{shape} takes {counter.get_total_flops():,} operations by torch's FLOP counter, "
            f"and family {space.family_name} counts {work:,}"
        )
    return counter.get_total_flops() / work


def _above_maximum(space: SearchSpace, sample: NDArray[np.int64]) -> list[str]:
    problems = []
    for name, objective in _OBJECTIVES.items():
        above = objective(space, sample) > objective(space, space.point(space.maximum))
        if above.any():
            worst = space.architectures(sample[above][:1])[0]
            problems.append(f"{worst} has more {name} than the maximum point")
    return problems


def _middle_share(space: SearchSpace, sample: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Return the share of the D middle layers: D times the increase by one more layer."""
    depth = space.names.index("D")
    deeper = sample.copy()
    deeper[:, depth] += 1
    found = {}
    for name, objective in _OBJECTIVES.items():
        here = objective(space, sample)
        share = sample[:, depth] * (objective(space, deeper) - here) / here
        found[name] = {
            "least": float(share.min()),
            "median": float(np.median(share)),
            "most": float(share.max()),
            "below_half": float((share < 0.5).mean()),
        }
    return found


def _monotone(space: SearchSpace, sample: NDArray[np.int64], parameter: str) -> dict[str, bool]:
    column = space.names.index(parameter)
    choices = np.unique([*space.parameters[parameter], space.maximum[parameter]])
    following = np.searchsorted(choices, sample[:, column], side="right")
    smaller = sample[following < len(choices)]
    larger = smaller.copy()
    larger[:, column] = choices[following[following < len(choices)]]
    return {name: bool((f(space, larger) >= f(space, smaller)).all()) for name, f in _OBJECTIVES.items()}


def _evenly(points: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).astype(np.int64)]
