import json

import numpy as np
import running

HEADER = "depth,width,inner,fixed,encoder,decoder"


def rows(noise=0.0, n=120):
    generator = np.random.default_rng(0)
    depth, width, inner = generator.integers([1, 4, 4], [13, 33, 65], (n, 3)).T
    encoder = 2 + 0.01 * width * inner
    decoder = 5 + depth * (1 + 0.02 * width**2 + 0.01 * width * inner)
    factors = np.exp(noise * generator.normal(size=(n, 2)))
    return [
        (d, w, i, 6, float(e * f), float(c * g))
        for d, w, i, e, c, (f, g) in zip(depth, width, inner, encoder, decoder, factors, strict=True)
    ]


def write(tmp_path, lines):
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "\n" + "".join(",".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path


def fsp(path, *more, parameters="depth,width,inner,fixed", targets=("encoder", "decoder"), train=60):
    aims = [part for target in targets for part in ("--target", target)]
    return running.fsp("replay", "speed", path, "--parameters", parameters, *aims, "--train", train, *more)


def test_json(tmp_path):
    done = fsp(write(tmp_path, rows(noise=0.03)), "--seeds", 3, "--json")
    assert done.returncode == 0, done.stderr
    assert "the same in every row: fixed" in done.stderr
    facts = json.loads(done.stdout)
    assert {"mape", "within_5_percent", "within_10_percent", "spearman", "n_train", "n_test"} < set(facts)
    assert facts["mape"] < 0.04  # the mean of a normal error of 3% is 2.4%
    assert facts["within_10_percent"] > 0.97 and facts["spearman"] > 0.98
    assert facts["baseline"]["mape"] > 2 * facts["mape"]
    assert facts["n_train"] == 60 and facts["n_test"] == facts["architectures"] - 60
    assert facts["constant"] == ["fixed"]


def test_a_law_without_noise_is_found(tmp_path):
    facts = json.loads(fsp(write(tmp_path, rows()), "--json").stdout)
    assert facts["mape"] < 1e-6 and facts["within_5_percent"] == 1
    assert fsp(write(tmp_path, rows()), "--json").stdout == fsp(write(tmp_path, rows()), "--json").stdout


def test_it_warns_where_the_straight_line_is_better(tmp_path):
    lines = [(*row[:3], 6, 100.0 - 0.01 * row[1] * row[2], 5.0) for row in rows()]  # falls where parameters grow
    done = fsp(write(tmp_path, lines), "--json", targets=("encoder",))
    facts = json.loads(done.stdout)
    assert facts["baseline"]["mape"] < 1e-6 < 0.01 < facts["mape"]
    (warning,) = facts["warnings"]
    assert "the straight line predicts better (MAPE 0.00% against" in warning
    assert f"warning: {warning}" in done.stderr.splitlines()
    assert json.loads(fsp(write(tmp_path, rows(noise=0.03)), "--json").stdout)["warnings"] == []


def test_text(tmp_path):
    done = fsp(write(tmp_path, rows(noise=0.03)), targets=("decoder",))
    assert done.returncode == 0
    assert "fitted to 60 rows" in done.stdout and "line in one product" in done.stdout


def test_repeated_architectures_never_stand_on_both_sides(tmp_path):
    lines = rows(n=60)
    done = fsp(write(tmp_path, lines + lines), "--json", train=30)
    facts = json.loads(done.stdout)
    assert facts["n_train"] + facts["n_test"] == facts["architectures"] <= 60
    assert facts["rows_merged"] >= 60
