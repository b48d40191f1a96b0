"""What a surrogate evaluation costs beside a long training, in processor seconds of one core.

python experiments/ground_truth/costs.py     # three minutes; prints Markdown

Twelve shapes evenly over the sizes. Both are measured one right after the other in the same process, so that whatever
else the machine does slows both; a long training is 40 of its steps times 25, with the cut and both measurements.
"""

import time

import numpy as np
from run import SETTINGS, Bench, _spread

from fsp import load_space
from fsp.distillation.fitting import fit
from fsp.search import plan

STEPS = 40
SURROGATES = (0, 16, 32)


def main() -> None:
    bench = Bench("cut")
    space = load_space(SETTINGS["space"])

    shapes = space.architectures(plan(space, interval=1).table[list(space.names)].to_numpy())
    spent = []
    for shape in _spread(shapes, 12):
        marks = [time.process_time()]
        for steps in SURROGATES:
            bench.error.with_steps(steps)(shape)
            marks.append(time.process_time())
        student = bench.error.student(shape)
        bench.error.task.fit(student, bench.material)
        start = bench.error.start_of(student)
        fixed = time.process_time()
        batches = bench.material.train.shuffled(SETTINGS["batch"], 0)
        rate = 4e-3 * start**2
        fit(student.eval().requires_grad_(True), bench.error.task.loss, batches, steps=STEPS, learning_rate=rate)
        trained = time.process_time()
        bench.error.task.refit(student, bench.material)
        bench.error.measure(student, bench.material.test)
        rest = time.process_time() - trained + fixed - marks[-1]
        spent.append([*np.diff(marks), (trained - fixed) * SETTINGS["steps"] / STEPS + rest])
        print(shape, " ".join(f"{seconds:.2f}" for seconds in spent[-1]), flush=True)
    total = np.sum(spent, axis=0)
    print("\n| | seconds | of a long training |\n|---|---|---|")
    for name, seconds in zip([f"s = {steps}" for steps in SURROGATES] + ["long"], total, strict=True):
        print(f"| {name} | {seconds / len(spent):.2f} | {seconds / total[-1]:.1%} |")


if __name__ == "__main__":
    main()
