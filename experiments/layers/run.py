"""Which of T's layers a cut should take: the error of every choice of layers, untrained.

    python experiments/layers/run.py      # errors.csv; about five minutes on one core, goes on where it was stopped

T is all-MiniLM-L6-v2 (six layers), on the Python documentation, as in the search. Errors are on validation text.
"""

import csv
from itertools import combinations
from pathlib import Path

import fsp.families.bert.cutter as cutter
from fsp.inputs import Settings, load_inputs, surrogate
from fsp.progress import Silent
from fsp.space import Architecture, load_space

HERE = Path(__file__).parent
WIDTHS = ({"A": 12, "H": 384, "I": 768}, {"A": 6, "H": 192, "I": 512})
DEPTHS = (1, 2, 3, 4)
STEPS = (0,)


def main() -> None:
    space = load_space("minilm")
    settings = Settings(tokens=65_536, threads=1)
    error = surrogate(load_inputs(space, None, (), Silent()), settings, HERE / "cache", Silent())
    path = HERE / "errors.csv"
    done = set()
    if path.exists():
        with path.open(newline="") as file:
            done = {(row["shape"], row["layers"], row["steps"]) for row in csv.DictReader(file)}
    else:
        path.write_text("shape,layers,steps,error\n")
    for width in WIDTHS:
        for depth in DEPTHS:
            shape = Architecture({"D": depth, **width})
            for layers in combinations(range(space.maximum["D"]), depth):
                cutter.spread = lambda full, count, chosen=layers: list(chosen)
                for steps in STEPS:
                    key = (",".join(map(str, shape.values())), " ".join(str(k + 1) for k in layers), str(steps))
                    if key in done:
                        continue
                    value = error.with_steps(steps)(shape)
                    with path.open("a", newline="") as file:
                        csv.writer(file).writerow([*key, f"{value:.4f}"])
                    print(*key, f"{value:.4f}", flush=True)


if __name__ == "__main__":
    main()
