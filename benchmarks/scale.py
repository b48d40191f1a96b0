"""Time and memory to enumerate, count and order ten million candidates. Prints one JSON object.

python benchmarks/scale.py
"""

import json
import resource
import time

import numpy as np

from fsp import SearchSpace
from fsp.base import environment
from fsp.objectives import operations, sizes
from fsp.search.interval import order

CHOICES = {"D": range(1, 51), "A": range(1, 41), "H": range(64, 6401, 64), "I": range(64, 3201, 64)}


def main() -> None:
    seconds = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name] = round(time.perf_counter() - start, 3)
        start = time.perf_counter()

    space = SearchSpace(
        name="ten_million",
        parameters={name: tuple(choices) for name, choices in CHOICES.items()},
        rules=("H % 64 == 0",),
        maximum={"D": 51, "A": 40, "H": 6400, "I": 3200},
        family="bert",
        constants={"vocabulary": 50265, "positions": 512, "token_types": 1},
        neutral=("A",),
    )
    lap("candidates")
    size = sizes(space, space.candidates)["encoder_parameters"]
    lap("parameters")
    speed = operations(space, space.candidates)
    lap("operations")
    ordered = order(size, speed, space.candidates, seed=0)
    lap("order")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, as Linux gives it

    assert len(np.unique(ordered)) == len(space.candidates)
    step = np.diff(size[ordered])
    assert (step >= 0).all()
    assert (np.diff(speed[ordered])[step == 0] >= 0).all()
    result = {
        "candidates": len(space.candidates),
        "seconds": seconds,
        "seconds_total": round(sum(seconds.values()), 3),
        "peak_megabytes": peak // 1000,
        "environment": environment(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
