"""Time the Pareto front and the hypervolume of 100,000 points in three objectives; prints one JSON object.

`uniform` has a small front; on `sphere` every point belongs to it. The values are checked: the front of `sphere` is
everything, and the hypervolume of each set equals that of its front.
"""

import json
import statistics
import time

import numpy as np
import pandas as pd

from fsp.search import hypervolume, pareto_front

POINTS = 100_000
ROUNDS = 5
OBJECTIVES = ["p", "i", "e"]


def main() -> None:
    generator = np.random.default_rng(0)
    uniform = generator.random((POINTS, 3))
    directions = np.abs(generator.normal(size=(POINTS, 3)))
    sphere = 1 - directions / np.linalg.norm(directions, axis=1, keepdims=True)
    pareto_front(pd.DataFrame(uniform[:10], columns=OBJECTIVES), OBJECTIVES)  # loads moocore
    result = {}
    for name, points in (("uniform", uniform), ("sphere", sphere)):
        table = pd.DataFrame(points, columns=OBJECTIVES)
        seconds: dict[str, list[float]] = {"front": [], "hypervolume": []}
        for _ in range(ROUNDS):
            start = time.perf_counter()
            front = pareto_front(table, OBJECTIVES)
            middle = time.perf_counter()
            volume = hypervolume(table, OBJECTIVES, reference=(1, 1, 1))
            seconds["front"].append(middle - start)
            seconds["hypervolume"].append(time.perf_counter() - middle)
        assert np.isclose(volume, hypervolume(front, OBJECTIVES, reference=(1, 1, 1)))
        assert name == "uniform" or len(front) == POINTS
        result[name] = {
            "front_size": len(front),
            "hypervolume": volume,
            **{f"seconds_{what}": round(statistics.median(s), 4) for what, s in seconds.items()},
        }
    print(json.dumps({"points": POINTS, "objectives": 3, "rounds": ROUNDS, **result}))


if __name__ == "__main__":
    main()
