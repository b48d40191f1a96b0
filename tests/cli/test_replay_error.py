import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from fsp.objectives.fitted import FittedError
from fsp.trust.replay.error import replay_error
from fsp.trust.replay.table import read_table

ARGUMENTS = ["--parameters", "d,h", "--size", "p", "--error", "e"]


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "table.csv"
    generator = np.random.default_rng(0)
    rows = [
        (d, h, d * h**2, round(2 * d**-0.5 * h**-0.2 * np.exp(0.03 * generator.normal()), 6))
        for d in range(1, 11)
        for h in (1.5, 2.5, 4, 8, 16)
    ]
    path.write_text("d,h,p,e\n" + "".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def fsp(in_process):
    def run(*arguments):
        return subprocess.CompletedProcess(arguments, *in_process("replay", "error", *arguments))

    return run


def test_json(csv, fsp):
    done = fsp(csv, *ARGUMENTS, "--train", 20, "--seeds", 3, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["n_train"], facts["n_test"], facts["seeds"]) == (20, 30, 3)
    assert facts["spearman"] > 0.9 and facts["kendall"] > 0.8
    assert facts["spearman_in_bands"] > facts["baseline_params_spearman_in_bands"]
    assert 0 <= facts["top10_overlap"] <= 1
    assert 0.7 < facts["coverage_90"] <= 1


def test_scores_by_hand(csv):
    table = read_table(csv, parameters=["d", "h"], size="p", error="e")
    replay = replay_error(table, train=20, seeds=2)
    assert replay.scores["spearman"].nunique() == 2
    rows = np.random.default_rng(1).permutation(50)
    train, test = rows[:20], rows[20:]

    def frame(which):
        return pd.DataFrame(table.parameters[which], columns=["d", "h"])

    predicted = FittedError.fit(frame(train).assign(error=table.error[train]), parameters=["d", "h"]).predict(
        frame(test)
    )
    truth, scores = table.error[test], replay.scores.loc[1]
    assert scores["spearman"] == spearmanr(predicted["error"], truth).statistic
    assert scores["kendall"] == kendalltau(predicted["error"], truth).statistic
    assert scores["baseline_params_spearman"] == pytest.approx(-spearmanr(table.size[test], truth).statistic)
    assert scores["coverage_90"] == ((predicted["low"] <= truth) & (truth <= predicted["high"])).mean()
    best = set(np.argsort(truth)[:3]) & set(np.argsort(predicted["error"].to_numpy())[:3])
    assert scores["top10_overlap"] == len(best) / 3
    ranks = np.searchsorted(np.quantile(table.size, [0.2, 0.4, 0.6, 0.8]), table.size[test], side="right")
    inside = [spearmanr(predicted["error"][ranks == b], truth[ranks == b]).statistic for b in range(5)]
    assert scores["spearman_in_bands"] == pytest.approx(np.mean(inside))


def test_text(csv, fsp):
    done = fsp(csv, *ARGUMENTS, "--train", 20, "--seeds", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "fitted from 20 of 50 rows, judged on the other 30; mean of 2 seeds"
    assert lines[2].startswith("Spearman inside size bands: 0.") and "by p alone 0." in lines[2]
    assert lines[-1].startswith("inside the 90% intervals: ")


def test_a_constant_error_is_undefined_not_an_error(csv, fsp):
    rows = [line.rsplit(",", 1)[0] + ",.5" for line in csv.read_text(encoding="utf-8").splitlines()[1:]]
    csv.write_text("d,h,p,e\n" + "\n".join(rows), encoding="utf-8")
    facts = json.loads(fsp(csv, *ARGUMENTS, "--train", 20, "--seeds", 2, "--json").stdout)
    assert facts["spearman"] is None and facts["spearman_in_bands"] is None
    assert facts["coverage_90"] == 1
    assert "Spearman: undefined" in fsp(csv, *ARGUMENTS, "--train", 20, "--seeds", 2).stdout


def test_missing_values_and_duplicates_are_reported(csv, fsp):
    with csv.open("a", encoding="utf-8") as file:
        file.write("6,6,,.5\n1,1.5,2.25,1.7\n")
    done = fsp(csv, *ARGUMENTS, "--train", 20, "--seeds", 1, "--json")
    assert "1 of 52 rows left out" in done.stderr
    assert "1 rows repeat another's parameters" in done.stderr
    assert json.loads(done.stdout)["n_test"] == 30


def test_no_torch_is_loaded(csv):
    code = "import sys; from fsp.cli.app import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "replay", "error", str(csv), *ARGUMENTS, "--train", "20", "--seeds", "1"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith("False\n")
