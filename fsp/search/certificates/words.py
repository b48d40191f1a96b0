"""A certificate's result in one sentence that claims no more than its numbers support, with its assumptions."""

from collections.abc import Mapping
from typing import Any

from fsp.base.rounding import at_most, confidence, plain, up


def statement(record: Mapping[str, Any], result: Mapping[str, Any], feasible: int) -> str:
    """Return what is claimed, under which assumptions, and how often M could have been contradicted.

    Args:
        record: see docs/certificate.md for its keys.
        result: the result of the record (`fsp.search.certificates.certificate.assess`), without a statement.
        feasible: number of candidates that the claim covers.
    """
    if result["status"] != "proven":
        return f"Nothing is claimed: {refutation(result)}."
    assumed = record["assumptions"]
    if record["choice"]["objective"] == "limits":
        claim = f"its error is at most {at_most(result['gap'])} above the least among {feasible} feasible candidates"
    else:
        claim = f"no other of {feasible} candidates has a W more than {at_most(result['gap'])} above its W"
    sizes = [name for name in record["parameters"] if name not in record["equal"] and name not in assumed["neutral"]]
    neutral = "".join(f", {name} neutral within {plain(tau)}" for name, tau in assumed["neutral"].items())
    post_hoc = ", chosen after the evaluations (post hoc)" if assumed["tau_post_hoc"] else ""
    sure = "" if assumed["sigma"] == 0 else f", with {confidence(record['alpha'])} confidence"
    shape = " ".join(f"{name}={plain(value)}" for name, value in result["selected"].items())
    said = f"{shape}: {claim}, under M({plain(assumed['tau'])}) in {', '.join(sizes) or 'no size'}{post_hoc}{neutral}"
    if assumed["error_floor"]:
        said += f", no error below {plain(assumed['error_floor'])} as declared"
    said += f" and {_noise(result['noise'])}{sure}. {tested(result['evidence'])}."
    failed = len(set(record["failed"]))
    return said + (f" {count(failed, 'candidate')} failed and {_are(failed)} left out." if failed else "")


def refutation(result: Mapping[str, Any]) -> str:
    """Return why a result that is not `proven` claims nothing."""
    noise = result["noise"]
    if violated := result["evidence"]["violated"]:
        return f"{count(violated, 'evaluated pair')} contradict{'s' if violated == 1 else ''} assumption M"
    if below := result["evidence"]["below_floor"]:
        return f"{count(below, 'evaluation')} {_are(below)} below the declared error_floor; leave it out"
    if apart := result["evidence"]["fresh_apart"]:
        return f"{count(apart, 'evaluation')} on fresh seeds {_are(apart)} further from the first than the noise allows"
    if noise["contradicted"] and noise["sigma"] == 0 and noise["declared"]:
        return (
            f"sigma is declared 0, and the errors of {count(noise['larger'], 'evaluation')} differ between seeds; "
            "leave sigma out to have it estimated"
        )
    if noise["contradicted"]:
        many = (
            f"{noise['larger']} of {noise['tested']} evaluations spread more over their seeds"
            if noise["larger"]
            else f"evaluations outside the pilot spread more over their seeds ({up(noise['others'])})"
        )
        return (
            f"{many} than equal normal noise of sigma {up(noise['sigma'])} allows; declare a sigma that none exceeds, "
            "or use an error of more equal noise"
        )
    if not noise["sigma"] and not noise["declared"]:
        return (
            f"no spread was seen between the seeds of {count(max(1, noise['tested']), 'evaluation')}, so the noise is "
            "unknown; declare sigma 0 where the error has none"
        )
    return "the evaluations leave the best possible score unbounded"


def tested(evidence: Mapping[str, Any]) -> str:
    """Return how often M could have been contradicted."""
    pairs = evidence["pairs"]
    if not pairs:
        return "M was tested on 0 pairs, so nothing could have contradicted it"
    return f"M was tested on {count(pairs, 'comparable pair')}, {evidence['violated']} against it"


def count(number: int, noun: str) -> str:
    """Return a number and its noun, e.g. `1 pair`, `2 pairs`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _noise(noise: Mapping[str, Any]) -> str:
    if not noise["sigma"]:
        return "errors declared free of noise"
    known = "as declared" if noise["declared"] else f"estimated with {count(noise['freedom'], 'degree')} of freedom"
    sigma = plain(noise["sigma"]) if noise["declared"] else up(noise["sigma"])
    at = f"tested on {count(noise['tested'], 'evaluation')}" if noise["tested"] else "tested on no evaluation"
    return f"equal normal noise of log e (sigma {sigma}, {known}, {at})"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
