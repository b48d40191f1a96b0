import copy
import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import fsp
from fsp.base.errors import InputError
from fsp.search.certificates.certificate import seal, verify
from fsp.search.certificates.certified import search
from fsp.search.certificates.settings import CertifiedSettings
from fsp.spaces.space import SearchSpace

GRID = [(d, h, a) for d in (1, 2, 3) for h in (1, 2, 3) for a in (1, 2)]
MONOTONE = np.array([1 / (d * h) ** 0.5 for d, h, _ in GRID])


def record_of(points, *, objective="limits", equal=(), **assumed):
    """A record over two sizes and one more parameter; p is the sum of the sizes and i their product."""
    points = np.array(points)
    size, speed = points[:, :2].sum(axis=1), points[:, :2].prod(axis=1)
    choice = {"objective": "limits", "limits": {"size": float(size.max())}}
    if objective == "w":
        choice = {"objective": "w", "size": "size", "speed": ["speed", "speed"], "exponents": [1, 1]}
    return {
        "space": None,
        "parameters": {name: points[:, j].tolist() for j, name in enumerate("DHA")},
        "equal": list(equal),
        "objectives": {"size": size.tolist(), "speed": speed.tolist()},
        "maximum": {"size": float(size.max() + 1), "speed": float(speed.max() + 1)},
        "choice": choice,
        "assumptions": CertifiedSettings(**{"sigma": 0.0, **assumed}).assumptions(),
        "alpha": 0.05,
        "target": 0.05,
    }


NO_SPACE = "it names no search space, so its candidates, p and i cannot be computed again"
SPACE = SearchSpace(
    "toy",
    {"D": (1, 2, 3), "A": (2, 6), "H": (8, 12, 24), "I": (8, 16)},
    ("H % A == 0", "D <= A"),
    {"D": 4, "A": 6, "H": 24, "I": 32},
    "bert",
    {"vocabulary": 100, "positions": 16, "token_types": 2, "of_no_use": 1},
    neutral=("A",),
)


def toy_error(architecture):
    return (architecture["D"] * architecture["H"] * architecture["I"]) ** -0.3


def certificate_of(values, evaluated, *, selected, points=GRID, **options):
    entries = [{"row": row, "errors": [float(values[row])], "role": "search"} for row in evaluated]
    done = {"evaluations": entries, "failed": [], "fresh": [], "pilot": 1, "comparisons": 99, "selected": selected}
    return seal({**record_of(points, **options), **done})


@pytest.fixture(scope="module")
def found():
    options = CertifiedSettings(sigma=0, seeds=1, audit=3)
    return fsp.extract(SPACE, error=toy_error, method="certified", objective="w", certified=options)


@pytest.fixture(scope="module")
def certificate(found):
    return json.loads(json.dumps(found.certificate))


def test_holds_after_a_round_trip(certificate, found):
    verdict = verify(certificate)
    assert verdict.holds, verdict.reasons
    assert verdict.result["gap"] <= 0.05
    assert verdict.result["error"] == pytest.approx(toy_error(found.selected))
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


def sealed_again(certificate):
    return seal({key: value for key, value in certificate.items() if key not in ("result", "digest", "kind", "schema")})


def refused(certificate):
    """Tell whether a certificate that was sealed again is refused, by a reason or in one line."""
    try:
        verdict = verify(sealed_again(certificate))
    except InputError as error:
        return len(str(error).splitlines()) == 1
    assert verdict.holds == (not verdict.reasons)
    assert all(len(reason.splitlines()) == 1 for reason in verdict.reasons)
    return not verdict.holds


COMPUTABLE = ("space", "parameters", "objectives", "maximum", "equal")
FREE = {("space", "name")}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_follows_from_the_space_cannot_be_altered_even_sealed_again(certificate, data):
    """Any one leaf: p, i, T's sizes, choices, constants, family, rules, neutral and equal parameters."""
    part = data.draw(st.sampled_from(COMPUTABLE))
    paths = [path for path in leaves(certificate) if path[0] == part and path not in FREE]
    key = data.draw(st.sampled_from(sorted({path[1] for path in paths}, key=str)))  # each alike, however long
    path = data.draw(st.sampled_from(sorted((path for path in paths if path[1] == key), key=str)))
    new = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-2, 99)
        | st.sampled_from([2**31, 2**70, 10**400, "B", "H % A == 1", "D <= 9 * A", "a function", "vit", [], {}, ["A"]])
        | st.floats()
    )
    tampered = copy.deepcopy(certificate)
    old = container_of(tampered, path)[path[-1]]
    container_of(tampered, path)[path[-1]] = new
    assert old == new or refused(tampered)


@pytest.mark.parametrize("where", COMPUTABLE)
@pytest.mark.parametrize("value", [None, [], {}, 3, 2**70, 10**400, "x", [[]]])
def test_a_whole_part_cannot_be_replaced(certificate, where, value):
    tampered = copy.deepcopy(certificate)
    tampered[where] = value
    assert refused(tampered)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_integers_of_any_size_are_refused_in_one_line(certificate, data):
    path = data.draw(st.sampled_from(sorted(leaves(certificate), key=str)))
    tampered = copy.deepcopy(certificate)
    container_of(tampered, path)[path[-1]] = data.draw(st.sampled_from([2**63, 2**70, -(2**70), 10**400, 10**4000]))
    assert rejected(tampered)


def without_rivals(certificate, keep):
    """The certificate with some candidates alone, in every column and row number."""
    body = copy.deepcopy(certificate)
    rows = np.flatnonzero(keep).tolist()
    for table in (body["parameters"], body["objectives"]):
        for name, column in table.items():
            table[name] = [column[row] for row in rows]
    new = {row: k for k, row in enumerate(rows)}
    body["evaluations"] = [{**entry, "row": new[entry["row"]]} for entry in body["evaluations"] if entry["row"] in new]
    body["selected"], body["space"]["candidates"] = new[body["selected"]], len(rows)
    return body


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "its candidates are not those"),
        ({"rules": ["H % A == 0", "D <= A", "even_depth"]}, "its rule 'even_depth' is no expression"),
        (None, "it names no search space"),
        ({"family": "elsewhere"}, "no network family 'elsewhere'"),
        ({"constants": {"vocabulary": 100, "positions": 16, "token_types": 3}}, "is not what its search space gives"),
        ({"constants": {"vocabulary": 100, "positions": 16}}, "needs token_types"),
    ],
)
def test_rivals_left_out_are_noticed_whatever_the_checksum(certificate, space, says):
    evaluated = np.zeros(len(certificate["parameters"]["D"]), dtype=bool)
    evaluated[[entry["row"] for entry in certificate["evaluations"]]] = True
    keep = evaluated if space is None or ("constants" not in space and "family" not in space) else evaluated | True
    body = without_rivals(certificate, keep)
    body["space"] = None if space is None else body["space"] | space
    (reason,) = verify(sealed_again(body)).reasons
    assert says in reason


def test_lists_of_ones_own_are_refused_or_said(certificate):
    other = copy.deepcopy(certificate)
    other["equal"] = []
    assert "must be equal" in verify(sealed_again(other)).reasons[0]
    tolerated = copy.deepcopy(certificate)
    tolerated["assumptions"]["neutral"], tolerated["equal"] = {"A": 0.25}, []
    assert "A neutral within 0.25" in verify(sealed_again(tolerated)).result["statement"]
    failed = copy.deepcopy(certificate)
    failed["failed"] = [row for row in range(3) if row != failed["selected"]]
    verdict = verify(sealed_again(failed))
    count = len(failed["failed"])
    assert any(f"evaluation of {count} candidates failed" in fact for fact in verdict.believed)
    assert f"{count} candidates failed and are left out" in verdict.result["statement"]


def test_a_certificate_of_an_earlier_schema_is_refused_with_the_way_on(certificate):
    with pytest.raises(InputError, match="schema 1, which lacks data that fsp now checks; certify again"):
        verify({**certificate, "schema": 1})


def test_constants_that_the_family_has_no_use_for_are_not_recorded(certificate):
    assert list(certificate["space"]["constants"]) == ["vocabulary", "positions", "token_types"]


def test_evidence_against_the_assumption_leaves_no_claim():
    values = MONOTONE.copy()
    values[0] = 0.01  # the smallest shape beats the largest
    refuted = certificate_of(values, [0, 16, 17], selected=0, neutral={"A": 0.0})
    assert refuted["result"]["status"] == "refuted"
    assert refuted["result"]["gap"] is None
    assert refuted["result"]["evidence"]["violated"] == 2
    assert verify(refuted).reasons == (NO_SPACE, "2 evaluated pairs contradict assumption M")
    least = refuted["result"]["evidence"]["least_tau"]
    tolerant = certificate_of(values, [0, 16, 17], selected=0, neutral={"A": 0.0}, tau=least, tau_post_hoc=True)
    assert verify(tolerant).reasons == (NO_SPACE,)
    assert "post hoc" in tolerant["result"]["statement"]


def test_without_limits_every_candidate_is_feasible():
    record = record_of(GRID, neutral={"A": 0.0})
    record["choice"]["limits"] = {}
    found = search(record, np.ones(18), lambda row, _: float(MONOTONE[row]), CertifiedSettings(sigma=0, seeds=1))
    sealed = seal(found)
    assert verify(sealed).reasons == (NO_SPACE,)
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
    record["maximum"]["size"] = 6.0  # that of the choice
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
        record["maximum"] |= {name: 10.0 for name in ("fast", "slow")}
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
        ({"schema": 3}, "upgrade fsp"),
        ({"schema": "1"}, "schema"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"target": -1}, "target"),
        ({"comparisons": 1}, "comparisons"),
        ({"selected": 17}, "was not evaluated"),
        ({"evaluations": []}, "not valid"),
        ({"parameters": {}}, "not valid"),
        ({"evaluations": [{"row": 16, "errors": [-1.0], "role": "search"}]}, "not positive"),
        ({"evaluations": [{"row": 16, "errors": [0.1], "role": "pilot"}]}, "pilot and the roles disagree"),
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


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_statement_read_back_claims_no_more_than_was_computed(certificate, data):
    """Gap up, confidence down, tolerances and sizes to the last digit, and never 100%."""
    changed = copy.deepcopy(certificate)
    tau = data.draw(st.floats(0, 0.5))
    alpha = data.draw(st.floats(1e-12, 0.999) | st.sampled_from([0.05, 0.004, 0.0049, 0.005, 1e-9]))
    sigma = data.draw(st.sampled_from([0.0, 1e-6, 0.001]))
    changed["alpha"] = alpha
    changed["assumptions"] |= {"tau": tau, "sigma": sigma}
    result = sealed_again(changed)["result"]
    if result["status"] != "proven":
        return
    said = result["statement"]
    assert "100%" not in said.split(": ", 1)[1].split("above its W")[1]
    printed = re.search(r"W more than ([^%]+)% above its W, under M\(([^)]+)\)", said)
    assert Fraction(printed[1]) / 100 >= Fraction(repr(result["gap"]))
    assert Fraction(printed[1]) / 100 - Fraction(repr(result["gap"])) <= Fraction(1, 10_000)
    assert float(printed[2]) == tau
    confidence = re.search(r"with ([^%]+)% confidence", said)
    assert (confidence is None) == (sigma == 0)
    if confidence:
        assert Fraction(confidence[1]) / 100 <= 1 - Fraction(repr(alpha)) < 1
    assert said.startswith(" ".join(f"{name}={value}" for name, value in result["selected"].items()) + ": ")


def with_seeds(errors, *, pilot, rows=(17, 11, 5, 1), **assumed):
    roles = ["pilot"] * pilot + ["search"] * (len(errors) - pilot)
    entries = [{"row": r, "errors": e, "role": role} for r, e, role in zip(rows, errors, roles, strict=False)]
    done = {"evaluations": entries, "failed": [], "fresh": [], "pilot": max(1, pilot), "comparisons": 21}
    record = record_of(GRID, neutral={"A": 0.0}, **{"sigma": None, **assumed})
    return seal({**record, **done, "selected": rows[0]})["result"]


def test_noise_that_was_estimated_as_none_is_not_claimed():
    """No spread in any pilot candidate: that the seeds agree is not shown by their agreeing, it has to be declared."""
    result = with_seeds([[0.1] * 3, [0.1] * 3, [0.2] * 3], pilot=3)
    assert (result["status"], result["gap"], result["noise"]["sigma"]) == ("vacuous", None, 0.0)
    assert "no spread was seen between the seeds of 3 evaluations, so the noise is unknown" in result["statement"]
    declared = with_seeds([[0.1] * 3, [0.1] * 3, [0.2] * 3], pilot=0, sigma=0.0)
    assert declared["status"] == "proven"
    assert "errors declared free of noise" in declared["statement"]
    assert "confidence" not in declared["statement"]


def test_seeds_that_contradict_the_noise_leave_no_claim():
    quiet = [[0.2, 0.2001, 0.1999], [0.3, 0.3001, 0.3], [0.4, 0.4001, 0.4002]]
    assert with_seeds([*quiet, [0.5, 0.5001, 0.5002]], pilot=3)["status"] == "proven"
    loud = with_seeds([*quiet, [0.5, 0.6, 0.7]], pilot=3)
    assert (loud["status"], loud["gap"], loud["noise"]["larger"]) == ("refuted", None, 1)
    assert "1 of 4 evaluations spread more over their seeds than equal normal noise" in loud["statement"]
    within = with_seeds([quiet[0], quiet[1], [0.5, 0.6, 0.7]], pilot=3)  # the loud one has a say in sigma itself
    assert within["status"] == "refuted"
    assert with_seeds([*quiet, [0.5, 0.6, 0.7]], pilot=0, sigma=0.001)["status"] == "refuted"
    assert with_seeds([*quiet, [0.5, 0.6, 0.7]], pilot=0, sigma=0.0)["status"] == "refuted"
    enough = with_seeds([*quiet, [0.5, 0.6, 0.7]], pilot=0, sigma=0.2)
    assert enough["status"] == "proven"
    assert (
        "equal normal noise of log e (sigma 0.2, as declared, tested on 4 evaluations), with 95%" in enough["statement"]
    )


def test_the_statement_says_how_often_m_could_have_been_contradicted():
    """Under limits the largest shapes within them suffice, and no two of those are comparable."""
    antichain = certificate_of(MONOTONE, [17], selected=17, neutral={"A": 0.0})["result"]
    assert antichain["evidence"]["pairs"] == 0
    assert "M was tested on 0 pairs, so nothing could have contradicted it." in antichain["statement"]
    pair = certificate_of(MONOTONE, [17, 0], selected=17, neutral={"A": 0.0})["result"]
    assert "M was tested on 1 comparable pair, 0 against it." in pair["statement"]


def test_p_above_that_of_t_is_refused():
    record = certificate_of(MONOTONE, [16], selected=16, objective="w")
    record["maximum"]["size"] = 3.0
    with pytest.raises(InputError, match="no larger than those of the maximum point"):
        verify(record)


def test_the_example_of_the_documentation(capsys):
    text = (Path(__file__).parents[3] / "docs" / "certificate.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    exec(example, {})
    assert capsys.readouterr().out.strip() == example.strip().splitlines()[-1].removeprefix("# ")


def test_verify_needs_no_torch(certificate, tmp_path):
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate))
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'optuna', 'pandas'): sys.modules[name] = None\n"
        "from fsp.cli.app import main\n"
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
    assert (verify(sealed).reasons == (NO_SPACE,)) == (sealed["result"]["status"] == "proven")


def test_an_error_floor_that_is_refuted_leaves_no_claim():
    """A floor above the errors would bound every rival by it."""
    floor = certificate_of(MONOTONE, [17, 0], selected=0, neutral={"A": 0.0}, error_floor=0.9)["result"]
    assert floor["status"] == "refuted"
    assert "1 evaluation is below the declared error_floor" in floor["statement"]
    true = certificate_of(MONOTONE, [17, 0], selected=17, neutral={"A": 0.0}, error_floor=0.01)["result"]
    assert "no error below 0.01 as declared" in true["statement"]


@pytest.mark.parametrize(("sigma", "fresh"), [(0.0, [0.05]), (0.02, [0.05] * 3)])
def test_errors_on_fresh_seeds_that_contradict_the_first_leave_no_claim(sigma, fresh):
    own = float(MONOTONE[17])
    entries = [{"row": 17, "errors": [own] * len(fresh), "role": "search"}]
    done = {"evaluations": entries, "failed": [], "pilot": 1, "comparisons": 99, "selected": 17}
    record = {**record_of(GRID, sigma=sigma, neutral={"A": 0.0}), **done}
    assert seal({**record, "fresh": [{"row": 17, "errors": [own] * len(fresh)}]})["result"]["status"] == "proven"
    apart = seal({**record, "fresh": [{"row": 17, "errors": fresh}]})["result"]
    assert apart["status"] == "refuted"
    assert "on fresh seeds is further from the first" in apart["statement"]
