import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from materials import material_of
from typer.testing import CliRunner

from fsp.base.errors import InputError
from fsp.cli.app import app
from fsp.distillation.error import Distillation, DistillationSettings
from fsp.distillation.inputs import fitted_to
from fsp.distillation.teacher import load_teacher
from fsp.distillation.text.corpus import Corpus, read_corpus
from fsp.objectives.table import objectives_of
from fsp.report.summary import card_rows, trust
from fsp.search.planning import plan
from fsp.spaces.loading import load_space
from fsp.trust.card import interaction_sd, report_card, text_noise_of
from fsp.trust.on_record import card_for
from fsp.trust.truth import mean_truth, read_truth, sample, train_truth

WHOLE = {"encoder_parameters": "100%", "operations": "100%"}


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    teacher = load_teacher(tiny.teacher)
    corpus = Corpus.of(read_corpus([tiny.corpus]))
    folder = tmp_path_factory.mktemp("states")
    error = Distillation(*material_of(teacher, corpus, folder, length=64), DistillationSettings(steps=1))
    return fitted_to(tiny.space, teacher), error


def test_means_over_seeds_are_geometric_and_noise_is_pooled():
    space = load_space("minilm")
    shapes = space.candidates[[3, 3, 8, 8, 8, 20]]
    table = pd.DataFrame({**space.columns(shapes), "error": [0.1, 0.2, 0.3, 0.3, 0.3, 0.5]})
    found, noise = mean_truth(space, table.sample(frac=1, random_state=0))
    found = found.sort_values("trainings").reset_index(drop=True)
    assert found["trainings"].tolist() == [1, 2, 3]
    assert np.allclose(found["truth"], [0.5, np.sqrt(0.02), 0.3])
    assert noise == pytest.approx(np.log(2) / np.sqrt(2) / np.sqrt(3))  # one of three degrees of freedom varies
    expected = objectives_of(space, space.candidates[[20, 3, 8]])
    assert found["encoder_parameters"].tolist() == expected["encoder_parameters"].tolist()
    assert mean_truth(space, table.iloc[[0, 2, 5]])[1] is None


def test_the_noise_of_the_text_is_what_a_text_does_to_one_shape_and_not_to_others():
    """By simulation: two texts of 16 parts each; the spread of the differences between their means, shapes compared."""
    generator = np.random.default_rng(0)
    shapes, hardness = generator.normal(size=(8, 1)), generator.normal(size=(2000, 1, 16))
    logs = shapes + hardness + 0.02 * generator.normal(size=(2000, 8, 16))
    means = logs.mean(axis=2)
    between_texts = (means[::2] - means[1::2]) - (means[::2] - means[1::2]).mean(axis=1, keepdims=True)
    true = float(np.sqrt((between_texts**2).sum(axis=1).mean() / 7 / 2))
    told = np.sqrt(np.mean([interaction_sd(one) ** 2 for one in logs[:300]]))
    assert told == pytest.approx(true, rel=0.05) == pytest.approx(0.02 / 4, rel=0.05)


def test_the_ceiling_counts_seeds_and_text(parts):
    space, error = parts
    shapes = sample(space, plan(space, limits=WHOLE, interval=1).table, 8)
    text = text_noise_of(error, shapes)
    half = copy.copy(error)
    half.material = replace(error.material, test=error.material.test[: len(error.material.test) // 2])
    assert 0 < text < text_noise_of(half, shapes)  # less text, more noise
    assert text_noise_of(error, shapes[:1]) is None
    shapes = sample(space, plan(space, limits=WHOLE, interval=1).table, 12)
    truth = pd.DataFrame([{**s, "error": error(s) * f} for s in shapes for f in (1, 1 + 1e-9)])
    card = report_card(space, error, truth)
    assert card.noise < 1e-6
    assert card.text_noise > 1e-4
    assert card.rankings["s=0"].ceiling < 1  # it was 1: seeds that agree say nothing of the text


def test_a_sample_covers_the_sizes():
    space = load_space("minilm")
    table = plan(space, interval=1).table
    shapes = sample(space, table, 24)
    assert len(shapes) == len(set(shapes)) == 24
    assert dict(shapes[0]) == table.iloc[0][list(space.names)].to_dict()
    assert dict(shapes[-1]) == table.iloc[-1][list(space.names)].to_dict()
    assert len(sample(space, table, 10_000)) == len(table)


def test_a_card_of_real_trainings(parts, tmp_path):
    space, error = parts
    shapes = sample(space, plan(space, limits=WHOLE, interval=1).table, 14)
    study = tmp_path / "s.journal"
    truth = train_truth(space, error, shapes, steps=6, seeds=2, study=study)
    assert len(truth) == 28
    card = report_card(space, error, truth, study=study)
    assert len(card.table) == 14
    assert {"s=0", "s=1", "s=2", "extrapolated", "equal FLOPs", "zero-cost synflow"} <= set(card.rankings)
    assert card.rankings["s=1"].spearman > 0.5
    assert card.noise > 0
    assert 0 < card.surrogate_noise < 1
    assert card.rankings["anchored, s=1"].finalists_regrets[-1] <= card.rankings["anchored, s=1"].regrets[-1]
    known = card.table["anchored, s=0"] == card.table["truth"]
    assert known.sum() == card.anchored["s=0"]["anchors"] == 7  # half of the shapes
    assert set(card.stability) == {"s=0", "s=1"}
    assert np.allclose(card.table["extrapolated"], card.table["s=2"] ** 2 / card.table["s=1"])
    assert card.table["truth"].max() < card.controls["mean"]
    assert card.rankings["zero-cost encoder_parameters"].spearman == pytest.approx(
        float(card.table["truth"].corr(-card.table["encoder_parameters"], method="spearman"))
    )
    shape = space.architectures(card.table[list(space.names)].to_numpy()[[0]])[0]
    assert card.table["s=0"][0] == error.with_steps(0)(shape)
    json.dumps(card.describe(), allow_nan=False)


def test_truths_that_are_none(tmp_path):
    space = load_space("minilm")
    path = tmp_path / "t.csv"
    with pytest.raises(InputError, match="cannot read"):
        read_truth(path, space)
    path.write_text("D,A,H\n1,4,128\n")
    with pytest.raises(InputError, match="no column I"):
        read_truth(path, space)
    for value in ("0", "-1", "nan", "much"):
        path.write_text(f"D,A,H,I,error\n1,4,128,128,{value}\n")
        with pytest.raises(InputError, match="no positive numbers"):
            read_truth(path, space)
    path.write_text("D,A,H,I,error\n1.9,4,128,128.7,0.5\n")
    with pytest.raises(InputError, match="no whole numbers"):
        read_truth(path, space)
    path.write_text("D,A,H,I,error,seed\n1,4,128,128,0.5,0\n")
    known = [{"D": 1, "A": 4, "H": 128, "I": 128, "error": 0.5}]
    assert (read_truth(path, space)[0].to_dict("records"), read_truth(path, space)[1]) == (known, 0)
    path.write_text("D,A,H,I,error\n1,3,128,128,0.5\n1,4,128,128,0.5\n1,8,128,128,0.5\n")  # A by choice, and by rule
    assert (read_truth(path, space)[0].to_dict("records"), read_truth(path, space)[1]) == (known, 2)
    path.write_text("D,A,H,I,error\n1,3,128,128,0.5\n")
    with pytest.raises(InputError, match="no candidate of space minilm"):
        read_truth(path, space)


def test_too_few_shapes_and_no_steps(parts):
    space, error = parts
    truth = pd.DataFrame({**space.columns(space.candidates[:3]), "error": 0.5})
    with pytest.raises(InputError, match="3 shapes"):
        report_card(space, error, truth)
    with pytest.raises(InputError, match="at least 1 step"):
        report_card(space, error.with_steps(0), truth)


def test_the_command(tiny, tmp_path):
    out = tmp_path / "card"
    base = ["error", "card", str(tiny.space_file), "--out", str(out), *tiny.arguments(), "--steps", "1"]
    limits = [part for name, value in WHOLE.items() for part in ("--limit", f"{name}={value}")]
    short = ["--truth-steps", "3", "--shapes", "10", "--truth-seeds", "1"]
    done = CliRunner().invoke(app, [*base, *limits, *short, "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["shapes"] == 10
    assert facts["noise"] is None
    assert (out / "card.csv").is_file()
    assert json.loads((out / "card.json").read_text()) == facts
    fingerprint = facts["fingerprint"]
    assert facts["task"] == "states"
    assert card_for(fingerprint, "states", 1, out / "card.json") == facts
    for asked in ((fingerprint, "states", 2), ("other", "states", 1), (fingerprint, "embedding", 1)):
        with pytest.raises(InputError, match="another"):
            card_for(*asked, out / "card.json")
    assert card_for(fingerprint, "states", 1) is None  # not on record
    assert "size with Spearman" in trust({"card": facts})
    assert "different text" in trust({"card": facts})
    assert "different text" not in trust({"card": facts, "config": {"corpus": facts["corpus"]}})
    assert card_rows(facts)[1]["surrogate"] == "s=1"
    again = CliRunner().invoke(app, [*base, *limits, *short])
    assert again.exit_code == 0
    assert "in size bands" in again.stdout
    table = pd.read_csv(out / "card.csv")
    other = CliRunner().invoke(app, [*base, *limits, "--truth-steps", "4", "--shapes", "10", "--truth-seeds", "1"])
    assert isinstance(other.exception, InputError)
    truth = tmp_path / "truth.csv"
    table.rename(columns={"truth": "error"})[["D", "A", "H", "I", "error"]].to_csv(truth, index=False)
    given = [*base[:4], str(tmp_path / "given"), *base[5:], "--truth", str(truth), "--json"]
    done = CliRunner().invoke(app, given)
    assert json.loads(done.stdout)["rankings"]["s=0"]["spearman"] == pytest.approx(facts["rankings"]["s=0"]["spearman"])


@pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"schema": 2}'])
def test_files_that_are_no_card(tmp_path, content):
    path = tmp_path / "card.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"no report card|not valid JSON"):
        card_for("any", "states", 1, path)


def test_a_report_without_a_card_says_so():
    assert "fsp error card" in trust({})
    assert "fsp error card" in trust({"card": None})
