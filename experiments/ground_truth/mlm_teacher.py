"""Attach a head for masked language modelling to MiniLM and train both, once: the T of the rows of kind `kl`.

    python experiments/ground_truth/mlm_teacher.py     # about 20 minutes on one core; goes on where it was stopped

Writes cache/minilm-mlm, a Hugging Face directory, and mlm_teacher.json with what it reaches on held-out text.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertForMaskedLM

from fsp import load_space
from fsp.base import write_json
from fsp.distillation import Corpus, packaged_teacher, standard_library
from fsp.distillation.fitting import learning_rate_at
from fsp.distillation.masking import Masking
from fsp.distillation.text import pack

HERE = Path(__file__).parent
FOLDER = HERE / "cache" / "minilm-mlm"
STEPS, BATCH, LENGTH, RATE, WARMUP, SAVED = 600, 16, 64, 3e-4, 0.05, 100


def loss(model: BertForMaskedLM, inputs: Tensor, targets: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy at the chosen positions and the share of them that is predicted rightly."""
    logits = model.cls(model.bert(input_ids=inputs).last_hidden_state[chosen])
    wanted = targets[chosen]
    return torch.nn.functional.cross_entropy(logits, wanted), (logits.argmax(dim=-1) == wanted).float().mean()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source = packaged_teacher(load_space("minilm").teacher)
    tokenizer = AutoTokenizer.from_pretrained(source)
    corpus, masking = Corpus.of(standard_library()), Masking.of(tokenizer)
    blocks, held_out = (torch.from_numpy(pack(tokenizer, t, LENGTH)).long() for t in (corpus.train, corpus.validation))
    model = BertForMaskedLM.from_pretrained(source, dtype=torch.float32).eval()  # without dropout
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    kept, done = HERE / "cache" / "minilm-mlm.pt", 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        done = state["steps"]
    generator = torch.Generator().manual_seed(0)
    order = torch.cat(
        [torch.randperm(len(blocks), generator=generator) for _ in range(STEPS * BATCH // len(blocks) + 1)]
    )
    for step in range(done, STEPS):
        rows = order[step * BATCH : (step + 1) * BATCH]
        inputs, chosen = masking(blocks[rows].numpy(), seed=step)
        for group in optimiser.param_groups:
            group["lr"] = RATE * learning_rate_at(step, STEPS, WARMUP)
        value, accuracy = loss(model, torch.from_numpy(inputs), blocks[rows], torch.from_numpy(chosen))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % SAVED == 0:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "steps": step + 1}
            torch.save(state, kept.with_suffix(".new"))
            kept.with_suffix(".new").rename(kept)
            print(step + 1, f"{float(value.detach()):.3f} {float(accuracy):.3f}", flush=True)
    inputs, chosen = masking(held_out.numpy(), seed=0)
    with torch.inference_mode():
        value, accuracy = loss(model, torch.from_numpy(inputs), held_out, torch.from_numpy(chosen))
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    facts = {"steps": STEPS, "batch": BATCH, "length": LENGTH, "learning_rate": RATE, "threads": 1}
    facts |= {"held_out_cross_entropy": round(float(value), 4), "held_out_accuracy": round(float(accuracy), 4)}
    write_json(HERE / "mlm_teacher.json", facts)
    kept.unlink(missing_ok=True)
    print(facts)


if __name__ == "__main__":
    main()
