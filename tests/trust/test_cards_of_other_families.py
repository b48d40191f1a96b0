"""Report cards of spaces whose networks some zero-cost baselines do not take."""

import json

import numpy as np
import pytest
import torch
from text_networks import saved
from tiny_networks import perturb

from fsp.distillation.models.own import save_own
from fsp.families import mlp

SPACES = {
    "mlp": ("D = [1, 2, 3]\nH = [8, 12, 16, 24]", "D = 3\nH = 24"),
    "gpt2": ("D = [1, 2, 3]\nA = [2, 4]\nH = [16, 32]\nI = [16, 48]", "D = 3\nA = 4\nH = 32\nI = 48"),
}
LEFT_OUT = {"mlp": {"synflow", "jacobian_covariance"}, "gpt2": {"synflow"}}


def teacher(family, folder, tiny):
    """Write an untrained T and its data; return the words that name both."""
    random = np.random.default_rng(0)
    if family == "mlp":
        torch.manual_seed(0)
        save_own(perturb(mlp.build({"D": 3, "H": 24}, {"inputs": 6, "outputs": 4})), mlp, folder / "T")
        values = random.normal(size=(4000, 6)).astype(np.float32)
        np.savez(folder / "values.npz", values=values)
        return ["--teacher", folder / "T", "--data", folder / "values.npz"]
    (folder / "docs.txt").write_text((tiny.corpus / "docs.txt").read_text(encoding="utf-8")[:200_000], encoding="utf-8")
    return ["--teacher", saved("gpt2", "LMHeadModel", folder / "T", n_positions=64), "--corpus", folder / "docs.txt"]


@pytest.mark.parametrize("family", SPACES)
def test_baselines_that_do_not_take_the_networks_are_left_out(family, tiny, tmp_path, in_process):
    choices, maximum = SPACES[family]
    file = tmp_path / "small.toml"
    file.write_text(f'family = "{family}"\n[parameters]\n{choices}\n[maximum]\n{maximum}\n')
    words = ["--steps", 1, "--truth-steps", 2, "--shapes", 10, "--truth-seeds", 1, "--threads", 1, "--device", "cpu"]
    words += ["--limit", "encoder_parameters=100%", "--limit", "operations=100%"]
    code, printed, said = in_process(
        "error", "card", file, *teacher(family, tmp_path, tiny), *words, "--out", tmp_path / "card", "--json"
    )
    assert code == 0, said
    facts = json.loads(printed)
    baselines = {name.removeprefix("zero-cost ") for name in facts["rankings"] if name.startswith("zero-cost ")}
    assert baselines == {"encoder_parameters", "operations", "synflow", "jacobian_covariance"} - LEFT_OUT[family]
    assert facts["shapes"] == 10
    assert json.loads((tmp_path / "card" / "run.json").read_text())["config"]["device"] == "cpu"
