import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsp.errors import InputError
from fsp.search.certificate import seal, verify
from fsp.search.certified import search
from fsp.search.certified_settings import CertifiedSettings
from fsp.space import SearchSpace

GRID = [(d, h, a) for d in (1, 2, 3) for h in (1, 2, 3) for a in (1, 2)]
MONOTONE = np.array([1 / (d * h) ** 0.5 for d, h, _ in GRID])


def record_of(points, *, objective="limits", equal=(), **assumed):
    """A record over two sizes and one more parameter; p is the sum of the sizes and i their product."""
    points = np.array(points)
    size, speed = points[:, :2].sum(axis=1), points[:, :2].prod(axis=1)
    choice = {"objective": "limits", "limits": {"size": float(size.max())}}
    if objective == "w":
        top = {"size": float(size.max() + 1), "speed": [float(speed.max() + 1)] * 2}
        choice = {"objective": "w", "size": "size", "speed": ["speed", "speed"], "maximum": top, "exponents": [1, 1]}
    return {
        "space": None,
        "parameters": {name: points[:, j].tolist() for j, name in enumerate("DHA")},
        "equal": list(equal),
        "objectives": {"size": size.tolist(), "speed": speed.tolist()},
        "choice": choice,
        "assumptions": CertifiedSettings(**{"sigma": 0.0, **assumed}).assumptions(),
        "alpha": 0.05,
        "target": 0.05,
    }


def certificate_of(values, evaluated, *, selected, points=GRID, **options):
    entries = [{"row": row, "errors": [float(values[row])], "role": "search"} for row in evaluated]
    done = {"evaluations": entries, "failed": [], "fresh": [], "pilot": 1, "comparisons": 99, "selected": selected}
    return seal({**record_of(points, **options), **done})


@pytest.fixture(scope="module")
def certificate():
    options = CertifiedSettings(sigma=0, seeds=1, neutral={"A": 0.0}, audit=3)
    record = record_of(GRID, objective="w", neutral={"A": 0.0})
    return json.loads(json.dumps(seal(search(record, np.ones(18), lambda row, _: float(MONOTONE[row]), options))))


def test_holds_after_a_round_trip(certificate):
    verdict = verify(certificate)
    assert verdict.holds, verdict.reasons
    assert verdict.result["gap"] <= 0.05
    assert verdict.result["error"] == pytest.approx(MONOTONE[certificate["selected"]])
    assert verdict.result["audit"] == {"audited": 3, "failures": 0, "share_at_most": pytest.approx(0.6316, abs=1e-4)}


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def container_of(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


def rejected(certificate):
    try:
        return not verify(certificate).holds
    except InputError as error:
        return len(str(error).splitlines()) == 1


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_is_rejected(certificate, data):
    path = data.draw(st.sampled_from(sorted(leaves(certificate), key=str)))
    new = data.draw(
        st.none() | st.booleans() | st.integers(-2, 99) | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})
    )
    tampered = copy.deepcopy(certificate)
    container_of(tampered, path)[path[-1]] = new
    assert json.dumps(tampered) == json.dumps(certificate) or rejected(tampered)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_missing_part_is_rejected(certificate, data):
    paths = {path[:k] for path in leaves(certificate) for k in range(1, len(path) + 1)}
    path = data.draw(st.sampled_from(sorted(paths, key=str)))
    tampered = copy.deepcopy(certificate)
    del container_of(tampered, path)[path[-1]]
    assert rejected(tampered)


@pytest.mark.parametrize("rules", [(), ("D <= 2 * H",)])
def test_a_rival_left_out_of_the_space_is_noticed_whatever_the_checksum(rules):
    space = SearchSpace("toy", {"D": (1, 2, 3), "H": (1, 2, 3), "A": (1, 2)}, rules, {"D": 4, "H": 3, "A": 2}, "none")
    points = space.candidates.tolist()
    values = [1 / (d * h) for d, h, _ in points]
    rows = [k for k, (d, h, _) in enumerate(points) if d == h == 3]
    honest = certificate_of(values, rows, selected=rows[0], points=points)
    body = {k: v for k, v in honest.items() if k not in ("result", "digest", "kind", "schema")}
    body["space"] = space.describe()
    assert verify(seal(body)).holds
    for column in (*body["parameters"].values(), *body["objectives"].values()):
        del column[0]
    body["evaluations"] = [{**entry, "row": entry["row"] - 1} for entry in body["evaluations"]]
    body["selected"] -= 1
    assert verify(seal(body)).reasons == ("its candidates are not those of its search space",)
    body["space"]["rules"] = ["a function of Python"]
    assert verify(seal(body)).holds  # nobody can tell here whether that function excludes the shape
    body["parameters"]["D"][0] = 9
    assert not verify(seal(body)).holds


def test_evidence_against_the_assumption_leaves_no_claim():
    values = MONOTONE.copy()
    values[0] = 0.01  # the smallest shape beats the largest
    refuted = certificate_of(values, [0, 16, 17], selected=0, neutral={"A": 0.0})
    assert refuted["result"]["status"] == "refuted"
    assert refuted["result"]["gap"] is None
    assert refuted["result"]["evidence"]["violated"] == 2
    assert not verify(refuted).holds
    least = refuted["result"]["evidence"]["least_tau"]
    tolerant = certificate_of(values, [0, 16, 17], selected=0, neutral={"A": 0.0}, tau=least, tau_post_hoc=True)
    assert verify(tolerant).holds
    assert "post hoc" in tolerant["result"]["statement"]


def test_without_limits_every_candidate_is_feasible():
    record = record_of(GRID, neutral={"A": 0.0})
    record["choice"]["limits"] = {}
    found = search(record, np.ones(18), lambda row, _: float(MONOTONE[row]), CertifiedSettings(sigma=0, seeds=1))
    sealed = seal(found)
    assert verify(sealed).holds
    assert "among 18 feasible candidates" in sealed["result"]["statement"]


def test_noise_beyond_all_numbers_leaves_intervals_that_are_numbers():
    tampered = certificate_of(MONOTONE, range(18), selected=16, sigma=1e4)
    low, high = tampered["result"]["error_interval"]
    assert low == 0 and 1e300 < high < np.inf
    assert verify(json.loads(json.dumps(tampered))).result["error_interval"] == [low, high]


def test_no_finite_bound_is_no_claim():
    vacuous = certificate_of(MONOTONE, [0], selected=0)
    assert vacuous["result"]["status"] == "vacuous"
    assert not verify(vacuous).holds
    assert certificate_of(MONOTONE, [0], selected=0, error_floor=0.1)["result"]["gap"] == pytest.approx(9)


def test_a_choice_of_no_worth_has_no_gap():
    record = certificate_of(MONOTONE, [16, 17], selected=16, objective="w", neutral={"A": 0.0})
    record["choice"]["maximum"]["size"] = 6.0  # that of the choice
    assert verify(record).result["status"] == "vacuous"


def test_parameters_that_are_no_sizes_need_a_maximal_shape_each():
    assert certificate_of(MONOTONE, [16], selected=16, equal=["A"])["result"]["status"] == "vacuous"
    assert certificate_of(MONOTONE, [16, 17], selected=16, equal=["A"])["result"]["gap"] == 0
    tolerated = certificate_of(MONOTONE, [16], selected=16, neutral={"A": 0.1})["result"]["gap"]
    assert tolerated == pytest.approx(1 / 0.9 - 1)


def test_intervals_of_speed_widen_the_gap():
    def gap(spread):
        record = record_of(GRID, objective="w")
        speed = record["objectives"]["speed"]
        record["objectives"] |= {"fast": [i / spread for i in speed], "slow": [i * spread for i in speed]}
        record["choice"]["speed"] = ["fast", "slow"]
        size, speed = np.array(record["objectives"]["size"]), np.array(speed)
        best = int(((1 - size / 7) * (1 - speed / 10) / MONOTONE).argmax())
        entries = [{"row": row, "errors": [float(MONOTONE[row])], "role": "search"} for row in range(len(GRID))]
        done = {"evaluations": entries, "failed": [], "fresh": [], "pilot": 1, "comparisons": 99, "selected": best}
        return seal({**record, **done})["result"]["gap"]

    assert gap(1) == 0
    assert gap(1.05) > 0


def test_transfer_line():
    transfer = {"low": 0.8, "high": 1.0, "source": "experiments/ground_truth"}
    result = certificate_of(MONOTONE, [16, 17], selected=16, transfer=transfer)["result"]
    assert result["final_gap"] == pytest.approx(1.25 * (1 + result["gap"]) - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "no certificate"),
        ({"schema": 2}, "upgrade fsp"),
        ({"schema": "1"}, "schema"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"target": -1}, "target"),
        ({"comparisons": 1}, "comparisons"),
        ({"selected": 17}, "was not evaluated"),
        ({"evaluations": []}, "not valid"),
        ({"parameters": {}}, "not valid"),
        ({"evaluations": [{"row": 16, "errors": [-1.0], "role": "search"}]}, "not positive"),
        ({"evaluations": [{"row": 16, "errors": [0.1, 0.2], "role": "search"}]}, "sigma is declared 0"),
    ],
)
def test_refuses_files_that_make_no_sense(change, message):
    good = certificate_of(MONOTONE, [16, 15], selected=16)
    with pytest.raises(InputError, match=message):
        verify({**good, **change})


@pytest.mark.parametrize("content", [[], None, 3, "x"])
def test_refuses_what_is_no_object(content):
    with pytest.raises(InputError, match="no certificate"):
        verify(content)


def test_p_above_that_of_t_is_refused():
    record = certificate_of(MONOTONE, [16], selected=16, objective="w")
    record["choice"]["maximum"]["size"] = 3.0
    with pytest.raises(InputError, match="no larger than those of the maximum point"):
        verify(record)


def test_the_example_of_the_documentation(capsys):
    text = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    exec(example, {})
    assert capsys.readouterr().out.strip() == example.strip().splitlines()[-1].removeprefix("# ")


def test_verify_needs_no_torch(certificate, tmp_path):
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate))
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'optuna', 'pandas'): sys.modules[name] = None\n"
        "from fsp.cli import main\n"
        f"sys.argv = ['fsp', 'verify', {str(path)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the claim holds")


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_gap_of_a_noisy_certificate_is_the_definition(seed, estimated):
    """The whole claim once more, written out in loops and with scipy's distributions."""
    rng = np.random.default_rng(seed)
    options = CertifiedSettings(
        sigma=None if estimated else 0.1, seeds=3, tau=0.1, neutral={"A": 0.05}, evaluations=14, error_floor=0.01
    )
    record = record_of(GRID, objective="w", tau=0.1, neutral={"A": 0.05}, sigma=options.sigma, error_floor=0.01)
    found = search(record, np.ones(18), lambda row, _: float(MONOTONE[row] * np.exp(rng.normal(0, 0.1))), options)
    sealed = seal(found)
    groups = [np.log(entry["errors"]) for entry in found["evaluations"]]
    sigma, freedom = 0.1, np.inf
    if estimated:
        pilot = groups[: found["pilot"]]
        freedom = 2 * len(pilot)
        sigma = np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in pilot) / freedom)
    quantile = stats.t(freedom).ppf(1 - (1 - 0.95 ** (1 / found["comparisons"])) / 2)
    half = quantile * sigma / np.sqrt(3)
    rows = [entry["row"] for entry in found["evaluations"]]
    choice, fresh = found["selected"], {entry["row"]: entry["errors"] for entry in found["fresh"]}
    upper = np.mean(np.log(fresh[choice] if choice in fresh else groups[rows.index(choice)])) + half
    size, speed = (np.array(record["objectives"][name]) for name in ("size", "speed"))
    score = (1 - size / 7) * (1 - speed / 10)
    worst = 0.0
    for rival, (d, h, a) in enumerate(GRID):
        lowest = 0.01
        for row, group in zip(rows, groups, strict=True):
            if row == rival:
                lowest = max(lowest, np.exp(group.mean() - half))
            elif d <= GRID[row][0] and h <= GRID[row][1]:
                lowest = max(lowest, 0.9 * (1 if a == GRID[row][2] else 0.95) * np.exp(group.mean() - half))
        if rival != choice:
            worst = max(worst, score[rival] / lowest)
    if sealed["result"]["status"] == "proven":
        assert sealed["result"]["gap"] == pytest.approx(max(0, worst / (score[choice] / np.exp(upper)) - 1))
    assert verify(sealed).holds == (sealed["result"]["status"] == "proven")
