import copy
import json
from dataclasses import replace

import pytest

import fsp
from fsp.base.errors import InputError
from fsp.base.files import write_json
from fsp.search.certificates.certificate import seal
from fsp.search.certificates.settings import CertifiedSettings
from fsp.search.choice import choose
from fsp.spaces.loading import load_space

SPACE = load_space("bert_large")


def error(architecture):
    return (architecture["D"] * architecture["H"] * architecture["I"]) ** -0.2


def seeded(architecture, seed):
    return error(architecture) * (1 + 0.01 * (seed % 2))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A certified search of the paper's space: its certificate's file, its journal, and the extraction."""
    folder = tmp_path_factory.mktemp("found")
    options = CertifiedSettings(sigma=0, seeds=1, neutral={"A": 0.0}, audit=20)
    extraction = fsp.extract(
        SPACE, error=error, method="certified", objective="w", certified=options, study=folder / "study.journal"
    )
    write_json(folder / "certificate.json", extraction.certificate)
    return folder, extraction


@pytest.fixture
def run(monkeypatch, in_process, tmp_path_factory):
    """Run the command line in this process, in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))
    return in_process


def test_verify_says_what_holds(found, run):
    code, out, err = run("verify", found[0] / "certificate.json")
    assert (code, err) == (0, "")
    assert out.startswith("the claim holds\n")
    assert "20 candidates drawn at random, 0 below their bound; at most 14.0% of the rest are" in out


def test_verify_says_what_is_believed_and_how_often_m_was_tested(found, run):
    _, out, _ = run("verify", found[0] / "certificate.json")
    assert f"M was tested on {found[1].certificate['result']['evidence']['pairs']} comparable pairs" in out
    believed = out.split("believed, as nothing in the file can show it:\n")[1].splitlines()
    assert believed[0].startswith(f"  the {len(found[1].table)} errors, their seeds")
    assert "  that the audited candidates were drawn at random" in believed


def changed(content, where, value):
    """A certificate with one entry of a column altered, and sealed again."""
    body = {key: value for key, value in content.items() if key not in ("result", "digest", "kind", "schema")}
    table, name = where
    return seal({**body, table: {**body[table], name: [value, *body[table][name][1:]]}})


@pytest.mark.parametrize(
    ("where", "value", "code", "says"),
    [
        (("objectives", "parameters"), 1000, 1, "its parameters of D=2 A=4 H=512 I=256, 1000, is not what"),
        (("objectives", "operations"), 5, 1, "its operations of D=2 A=4 H=512 I=256, 5, is not what"),
        (("parameters", "D"), 4, 1, "its candidates are not those of its search space"),
    ],
)
def test_verify_refuses_what_was_altered_and_sealed_again(found, run, tmp_path, where, value, code, says):
    write_json(tmp_path / "c.json", changed(found[1].certificate, where, value))
    got, out, err = run("verify", tmp_path / "c.json")
    assert (got, err) == (code, "")
    assert out.startswith("the claim does not hold\n")
    assert says in out.splitlines()[1]


@pytest.mark.parametrize("value", [2**70, 10**400, -(2**70)])
@pytest.mark.parametrize(
    "where", [("objectives", "operations"), ("parameters", "D"), ("comparisons",), ("result", "gap")]
)
def test_verify_refuses_integers_beyond_all_counts_in_one_line(found, run, tmp_path, where, value):
    content = copy.deepcopy(found[1].certificate)
    table = content
    for key in where[:-1]:
        table = table[key]
    table[where[-1]] = [value, *table[where[-1]][1:]] if isinstance(table[where[-1]], list) else value
    write_json(tmp_path / "c.json", content)
    code, out, err = run("verify", tmp_path / "c.json")
    if where[0] == "result":  # what is stated is compared, whatever it is
        assert (code, err) == (1, "")
        assert "its stated result does not follow" in out
    else:
        assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_verify_json(found, run):
    code, out, err = run("verify", found[0] / "certificate.json", "--json")
    answer = json.loads(out)
    assert (code, err, answer["holds"], answer["reasons"]) == (0, "", True, [])
    assert answer["gap"] == found[1].certificate["result"]["gap"] <= 0.05
    assert answer["selected"] == dict(found[1].selected)


def test_verify_refuses_a_changed_certificate(found, run, tmp_path):
    content = json.loads((found[0] / "certificate.json").read_text())
    content["evaluations"][0]["errors"][0] *= 1.1
    changed = tmp_path / "certificate.json"
    changed.write_text(json.dumps(content))
    code, out, _ = run("verify", changed)
    assert code == 1
    assert "checksum" in out
    assert "does not follow" in out
    assert not json.loads(run("verify", changed, "--json")[1])["holds"]


def test_verify_says_when_m_is_violated(run, tmp_path):
    def odd(architecture):
        return error(architecture) * (1.5 if architecture["D"] == 12 else 1.0)

    found = fsp.extract(SPACE, error=odd, method="certified", objective="w")
    write_json(tmp_path / "certificate.json", found.certificate)
    code, out, _ = run("verify", tmp_path / "certificate.json")
    assert code == 1
    assert "1 evaluated pair contradicts assumption M" in out
    assert "the least tau that no pair contradicts" in out


def test_choose_answers_as_the_search_did(found, run):
    code, out, _ = run("choose", found[0] / "study.journal", "--space", "bert_large", "--objective", "w", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["selected"] == dict(found[1].selected)
    assert answer["evaluated"] == len(found[1].table)
    assert answer["win_share"] is None
    scores = [row["score"] for row in answer["runners_up"]]
    assert scores == sorted(scores, reverse=True)


def test_choose_with_other_limits(found, run):
    code, out, _ = run("choose", found[0] / "study.journal", "--space", "bert_large", "--limit", "operations=10%")
    assert code == 0
    assert out.startswith("chosen: D=")
    answer = choose(found[0] / "study.journal", SPACE, limits={"operations": "10%"})
    within = found[1].table[found[1].table["operations"] <= answer.limits["operations"]]
    assert answer.table["error"].iloc[0] == within["error"].min()
    assert len(answer.table) == len(within)


def test_choose_needs_no_space_where_the_study_tells_it(found, run, tmp_path):
    journal = found[0] / "study.journal"
    told = run("choose", journal, "--space", "bert_large", "--objective", "w", "--json")
    assert run("choose", journal, "--objective", "w", "--json") == told
    folder = tmp_path / "extraction"
    folder.mkdir()
    (folder / "evaluations.journal").write_bytes(journal.read_bytes())
    assert run("choose", folder, "--objective", "w", "--json") == told


def test_choose_asks_for_a_space_whose_rules_are_functions(run, tmp_path):
    def wide(H, A):
        return H % A == 0

    space = replace(SPACE, rules=(wide,))
    fsp.extract(space, error=error, interval=50, objective="w", study=tmp_path / "s.journal")
    code, _, err = run("choose", tmp_path / "s.journal", "--objective", "w")
    assert code == 2
    assert "name the space with --space" in err
    assert choose(tmp_path / "s.journal", space, objective="w").selected


def test_choose_limits_a_latency_that_is_calibrated(found, monkeypatch):
    class Predicted:
        names, maximum_ms = SPACE.names, 100.0

        def __call__(self, points):
            return points[:, 0] * 4.0  # four milliseconds per layer

    answer = choose(found[0] / "study.journal", limits={"latency": "16%"}, speed=Predicted())
    assert answer.limits == {"latency": 16.0}
    assert set(answer.table["D"]) == {2, 4} and answer.selected["D"] == 4


def test_choose_gives_the_share_of_resamples_won(tmp_path):
    journal = tmp_path / "study.journal"
    fsp.extract(SPACE, error=seeded, method="certified", limits={"operations": "10%"}, study=journal)
    answer = choose(journal, SPACE, limits={"operations": "10%"})
    assert answer.table["wins"].sum() == pytest.approx(1)
    tied = answer.table["score"] == answer.table["score"].iloc[0]  # shapes that differ in heads alone
    assert answer.table["wins"][tied].mean() > answer.table["wins"][~tied].max()


def test_choose_asks_which_study(tmp_path, run):
    journal = tmp_path / "study.journal"
    for function in (error, seeded):
        fsp.extract(SPACE, error=function, interval=100, limits={"operations": "90%"}, study=journal)
    with pytest.raises(InputError, match="several studies") as refused:
        choose(journal, SPACE)
    name = str(refused.value).split(": ")[1].split(" ")[0]
    assert choose(journal, SPACE, name=name, limits={"operations": "90%"}).study == name
    assert run("choose", journal, "--space", "bert_large")[0] == 2


def test_extract_writes_a_certificate_that_verifies(run, tiny, tmp_path):
    path = tmp_path / "certificate.json"
    code, out, err = run(
        "extract", tiny.space_file, *tiny.arguments(), "--steps", "0", "--method", "certified",
        "--limit", "operations=50%", "--certificate", path, "--json",
    )  # fmt: skip
    assert code == 0, err
    stated = json.loads(out)["certificate"]
    assert json.loads(path.read_text())["result"] == stated
    code, out, _ = run("verify", path)
    assert code == (0 if stated["status"] == "proven" else 1)
