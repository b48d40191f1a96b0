"""What tests of tasks need: small teachers of every task, and their material."""

from pathlib import Path
from typing import Any

from fsp.distillation.examples import Material
from fsp.distillation.settings import SurrogateSettings
from fsp.distillation.tasks.choice import task_of
from fsp.distillation.tasks.task import Data, Making, Task
from fsp.distillation.teacher import Teacher


def material_of(teacher: Teacher, data: Data, folder: Path, **sizes: int) -> tuple[Task, Material]:
    """Return a teacher's task and its material, small unless sizes are given."""
    task = task_of(teacher)
    settings = SurrogateSettings(**{"length": 32, "tokens": 20_000, "held_out_tokens": 4096, **sizes})
    return task, task.material(data, settings, Making(folder))


def masked_model(tiny: Any, folder: Path) -> Path:
    """Write a small untrained masked language model with T's tokenizer, and return its folder."""
    import torch
    from transformers import AutoTokenizer, BertForMaskedLM

    from fsp.families import bert

    torch.manual_seed(0)
    shape, tables = {"D": 3, "A": 4, "H": 32, "I": 64}, {"vocabulary": 30522, "positions": 128, "token_types": 2}
    config = bert.config_for(shape, tables)
    config.initializer_range = 0.1
    BertForMaskedLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny.teacher).save_pretrained(folder)
    return folder
