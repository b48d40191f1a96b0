"""How fast candidates train, against the machine's float32 matrix-product peak measured in the same run.

    python benchmarks/throughput.py [--threads N]

Shapes: eight evenly spaced over the larger half of minilm's candidates by encoder parameters, and one small one.
Prints one JSON object: for each shape tokens per second, GFLOP/s and the share of the peak. FLOP of a training token:
three times those of the forward pass, which are 2 a weight of the encoder and readout plus 4 H length a layer for
attention (forward, and twice that backward). Rounds of all shapes and of the peak are interleaved; medians.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn

from fsp import Architecture, SearchSpace, load_space
from fsp.base import environment
from fsp.distillation import Student
from fsp.distillation.losses import squared_error
from fsp.distillation.networks import last_states
from fsp.distillation.settings import SurrogateSettings
from fsp.families import bert
from fsp.objectives import objectives_of
from fsp.trust.truth import sample

SMALL = "D=2 A=6 H=192 I=128"
BATCH, LENGTH, WIDTH, STEPS, ROUNDS = 16, 64, 384, 4, 5
SIDE = 2048  # of the square matrices whose product is the peak


def shapes_of(space: SearchSpace) -> list[str]:
    """The shapes that are timed."""
    table = objectives_of(space, space.candidates).sort_values("encoder_parameters", kind="stable")
    return [*map(str, sample(space, table.iloc[len(table) // 2 :], 8)), SMALL]


def student_of(text: str, constants: dict[str, int]) -> Student:
    """Return a student with random weights and a readout of token states."""
    shape = Architecture.parse(text)
    return Student(bert.build(shape, constants).eval(), bert, nn.Linear(shape["H"], WIDTH))


def step_of(student: Student) -> object:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, 30000, (BATCH, LENGTH), generator=generator)
    states = torch.randn(BATCH, LENGTH, WIDTH, generator=generator)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        total, count = squared_error(student.readout(last_states(student.network, {"input_ids": tokens})), states)
        optimiser.zero_grad(set_to_none=True)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int)
    torch.set_num_threads(SurrogateSettings(threads=parser.parse_args().threads).processor_threads)
    torch.manual_seed(0)
    space = load_space("minilm")
    constants, texts = space.constants, shapes_of(space)
    students = {text: student_of(text, constants) for text in texts}
    steps = {text: step_of(student) for text, student in students.items()}
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    rates: dict[str, list[float]] = {name: [] for name in ("peak", *texts)}
    for round_ in range(-1, ROUNDS):  # the first round warms up
        start = time.perf_counter()
        for _ in range(8):
            left @ right
        gflops = {"peak": 8 * 2 * SIDE**3 / (time.perf_counter() - start) / 1e9}
        for text, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            gflops[text] = STEPS * BATCH * LENGTH / (time.perf_counter() - start)
        for name, rate in gflops.items():
            if round_ >= 0:
                rates[name].append(rate)
    peak = statistics.median(rates["peak"])
    result = {"peak_gflops": round(peak, 1), "shapes": {}, "environment": environment()}
    for text in texts:
        shape = Architecture.parse(text)
        weights = int(bert.parameters(shape, constants)["encoder_parameters"]) + students[text].readout_parameters
        flop = 3 * (2 * weights + 4 * shape["H"] * LENGTH * shape["D"])
        rate = statistics.median(rates[text])
        result["shapes"][text] = {
            "tokens_per_second": round(rate),
            "gflops": round(rate * flop / 1e9, 1),
            "share_of_peak": round(rate * flop / 1e9 / peak, 3),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
