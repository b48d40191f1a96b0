import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from fsp import export
from fsp.deploy.serving import load_saved

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
NO_TORCH = "import sys\nsys.modules['torch'] = sys.modules['transformers'] = sys.modules['fsp'] = None\n"


def test_the_serving_example_runs_without_torch(tiny, tmp_path):
    export(tiny.teacher, tmp_path / "onnx", int8=True, corpus=[tiny.corpus])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    save = "np.savez('outputs.npz', **outputs)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", NO_TORCH + code + save], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "outputs.npz")["last_hidden_state"]
    saved = load_saved(tiny.teacher)
    texts = re.search(r"encode_batch\((\[.*?\])\)", code).group(1)
    inputs = saved.tokenizer(ast.literal_eval(texts), padding="longest", return_tensors="pt")
    with torch.inference_mode():
        expected = saved.serving(**inputs)[0].numpy()
    kept = inputs["attention_mask"].numpy().astype(bool)
    assert np.linalg.norm((found - expected)[kept]) < 0.2 * np.linalg.norm(expected[kept])
