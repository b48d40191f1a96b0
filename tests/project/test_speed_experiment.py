"""The scripts of experiments/speed on made-up rounds: what they record, leave out when repeated, and print."""

import json
from pathlib import Path

import numpy as np
import pytest
from running import experiment

from fsp.deploy.latency.measuring import Measurement
from fsp.deploy.latency.rounds import ratio_of

FOLDER = Path(__file__).parents[2] / "experiments" / "speed"


def script(name, monkeypatch, folder):
    module = experiment(f"speed/{name}.py")
    if hasattr(module, "OUT"):
        monkeypatch.setattr(module, "OUT", folder / module.OUT.name)
    else:
        monkeypatch.setattr(module, "HERE", folder)
    return module


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The script with a machine of its own: every network takes a lognormal time, seeded."""
    module = script("run", monkeypatch, tmp_path)
    module.asked = []

    def measured(targets, runtimes, asked, *, display):
        batch, length, rounds = asked.batch, asked.length, asked.rounds
        module.asked.append((batch, length))
        random = np.random.default_rng(batch * length)
        level = {"eager": 4.0, "compile": 3.5, "onnx": 3.0, "int8": 1.0}
        samples = {
            (target.name, name): (k + 1) * level[name] * random.lognormal(0, 0.1, rounds)
            for k, target in enumerate(targets)
            for name in runtimes
        }
        settings = {"batch": batch, "length": length, "threads": 1, "rounds": rounds}
        settings |= {"device": asked.device, "dtype": asked.dtype}
        with display.bar("measuring latency", 1) as advance:
            advance(1)
        return Measurement(tuple(targets), tuple(runtimes), samples, {}, settings, {"load_before": 0.5})

    monkeypatch.setattr(module, "measure", measured)
    return module


def test_factors_come_from_the_rounds(run, tmp_path, capsys):
    run.main(["--rounds", "8"])
    assert "measuring latency: 1 of 1" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "results.json").read_text())
    entries = {(entry["network"], entry["runtime"]): entry for entry in found["latencies"]}
    assert len(entries) == 24
    for (network, runtime), other, name in [
        (("Bort", "int8"), ("Bort", "eager"), "own eager"),
        (("Bort", "int8"), ("BERT-base", "int8"), "BERT-base"),
        (("fastest of the 300", "onnx"), ("BERT-large", "eager"), "BERT-large eager"),
    ]:
        entry = entries[network, runtime]
        assert len(entry["samples_ms"]) == 8
        expected = ratio_of(np.array(entries[other]["samples_ms"]), np.array(entry["samples_ms"]))
        factor = entry["times_faster"][name]
        assert (factor["value"], factor["low"], factor["high"]) == (expected.value, expected.low, expected.high)
        assert factor["low"] < factor["value"] < factor["high"]


def test_repeated_it_makes_what_is_missing(run, tmp_path, capsys):
    run.main(["--rounds", "8"])
    run.main(["--rounds", "8"])
    run.main(["--batch", "8", "--length", "512", "--rounds", "8"])
    run.main(["--batch", "8", "--length", "512", "--rounds", "6"])
    assert run.asked == [(1, 128), (8, 512)] and "measured already" in capsys.readouterr().out
    run.main(["--rounds", "8", "--again"])
    run.main(["--rounds", "9"])
    assert run.asked[2:] == [(1, 128), (1, 128)]
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(entry["batch"], entry["length"], entry["rounds"]) for entry in found] == [(8, 512, 8), (1, 128, 9)]


def test_a_run_of_all_runtimes_takes_the_place_of_one_of_some(run, tmp_path):
    run.main(["--runtime", "eager", "int8", "--rounds", "8"])
    run.main(["--rounds", "8"])
    run.main(["--runtime", "int8", "eager", "--rounds", "8"])
    (found,) = json.loads((tmp_path / "results.json").read_text())
    assert len(found["runtimes"]) == 4 and len(run.asked) == 2


def test_an_interruption_keeps_the_finished_runs(run, tmp_path, monkeypatch):
    run.main(["--rounds", "8"])
    before = (tmp_path / "results.json").read_text()

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.main(["--length", "512", "--rounds", "8"])
    assert (tmp_path / "results.json").read_text() == before


def test_the_tables_hold_every_entry_with_its_intervals(run, tmp_path, monkeypatch, capsys):
    run.main(["--rounds", "8"])
    run.main(["--batch", "8", "--runtime", "eager", "int8", "--rounds", "8"])
    capsys.readouterr()
    script("table", monkeypatch, tmp_path).main()
    lines = capsys.readouterr().out.splitlines()
    (first, _) = json.loads((tmp_path / "results.json").read_text())
    factor = next(
        entry["times_faster"]["own eager"]
        for entry in first["latencies"]
        if (entry["network"], entry["runtime"]) == ("Bort", "int8")
    )
    text = f"{factor['value']:.1f} ({factor['low']:.1f} to {factor['high']:.1f})"
    assert f"| Bort int8 against own eager |  |  |  |  | {text} |" in lines
    assert sum(line.startswith("| BERT-large | ") for line in lines) == 4 + 2
    assert (
        sum(line.startswith("| Bort against BERT-base | 7.9 | ") and line.count(" to ") in (2, 4) for line in lines)
        == 2
    )


def test_the_tables_of_the_recorded_results(capsys, monkeypatch):
    script("table", monkeypatch, FOLDER).main()
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    assert shown and not [line for line in shown if line not in readme]
