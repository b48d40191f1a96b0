"""Give all-MiniLM-L6-v2 a head for masked language modelling and train both on a text: the teacher of run.py.

    python experiments/distillation/teacher.py runs/texts runs/kd     # 12 minutes on two cores; resumes where it was

Writes runs/kd/teacher, a Hugging Face directory, and the tokenised text to runs/kd/text.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForMaskedLM

from fsp import load_space, pretrain
from fsp.distillation import packaged_teacher
from fsp.distillation.pretraining.settings import Options, PretrainingSettings

STEPS, BATCH, LENGTH = 800, 16, 64


def main() -> None:
    corpus, out = Path(sys.argv[1]), Path(sys.argv[2])
    fresh = out / "fresh"
    if not fresh.exists():
        torch.manual_seed(0)
        source = packaged_teacher(load_space("minilm").teacher)
        BertForMaskedLM.from_pretrained(source, dtype=torch.float32).save_pretrained(fresh)
        AutoTokenizer.from_pretrained(source).save_pretrained(fresh)
    settings = PretrainingSettings(
        steps=STEPS, batch=BATCH, length=LENGTH, learning_rate=3e-4, kl=0.0, mlm=1.0, init=str(fresh), seed=0
    )
    found = pretrain(
        None,
        out / "teacher",
        teacher=fresh,
        corpus=[corpus],
        settings=settings,
        use_teacher=False,
        options=Options(cache_text=out / "text", checkpoint_every=100, evaluate_every=500),
        watched=True,
    )
    print(found["results"])


if __name__ == "__main__":
    main()
