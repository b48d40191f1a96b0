"""The extraction at full size, as far as a machine without GPU goes: three steps of the largest of the 300 shapes.

    python experiments/paper/full_size.py runs/bert-large     # about 10 minutes on two cores, 8 GB of memory

T is BERT-large with random weights and MiniLM's tokenizer (30,522 tokens), written to the folder. Prints what the whole
extraction at the paper's size would take on a GPU, from the operations counted by `fsp extract --plan`.
"""

import sys
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

import fsp
from fsp.base import Bars
from fsp.distillation import packaged_teacher
from fsp.search import plan

STEPS, TOKENS, INTERVAL, LONG = 3, 16_384, 10, 100
GPU, SHARE = 312e12, 0.3  # the maker's bfloat16 figure of an A100, and what training is taken to reach of it


def random_teacher(folder: Path) -> Path:
    if not folder.exists():
        torch.manual_seed(0)
        sizes = {"num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 1024, "intermediate_size": 4096}
        BertModel(BertConfig(**sizes, type_vocab_size=1), add_pooling_layer=False).save_pretrained(folder)
        AutoTokenizer.from_pretrained(packaged_teacher(fsp.load_space("minilm").teacher)).save_pretrained(folder)
    return folder


def main() -> None:
    teacher = random_teacher(Path(sys.argv[1]))
    started = time.monotonic()
    space, error = fsp.prepare("bert_large", teacher=str(teacher), steps=STEPS, tokens=TOKENS, display=Bars())
    print(f"T's states of the text, its parts ranked: {time.monotonic() - started:.0f} s")
    largest = space.architectures(space.candidates)[-1]
    seconds = {}
    for steps in (0, STEPS):
        started = time.monotonic()
        value = error.with_steps(steps)(largest, seed=0)
        seconds[steps] = time.monotonic() - started
        print(f"{largest}: error {value:.3f} after {steps} steps, {seconds[steps]:.0f} s", flush=True)
    per_step = (seconds[STEPS] - seconds[0]) / STEPS
    found = fsp.extract(space, error=error, objective="w", interval=len(space.candidates), display=Bars())
    print(f"extract, interval {len(space.candidates)}: {found.selected}, {len(found.table)} evaluated")
    rate = error.flops_per_step(largest) / per_step
    print(f"{per_step:.1f} s a step, {rate / 1e9:.0f} GFLOP/s")
    planned = plan(space, objective="w", interval=INTERVAL).table[list(space.names)].to_numpy()
    whole = LONG * sum(error.flops_per_step(shape) for shape in space.architectures(planned))
    print(f"{len(planned)} shapes, {LONG} steps each: {whole:.2e} FLOP")
    around = len(planned) * seconds[0]
    print(f"{whole / rate / 3600:.1f} h here, besides {around / 3600:.1f} h of cutting and evaluating")
    print(f"{whole / (GPU * SHARE):.0f} s on a GPU at {SHARE:.0%} of {GPU / 1e12:.0f} TFLOP/s")


if __name__ == "__main__":
    main()
