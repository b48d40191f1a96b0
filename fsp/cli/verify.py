"""The commands on finished work, `fsp verify` and `fsp choose`. Neither of them trains anything."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsp.base.rounding import at_least, at_most, up
from fsp.cli.options import Json, LimitOfLatency, Speed

if TYPE_CHECKING:
    from fsp.search.certificates.certificate import Verdict

_SHOWN = 5  # runners-up


def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate.json of a choice.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Recompute a certificate's claim from its numbers; exit 0 if it holds, 1 if not, 2 if it cannot be read."""
    from fsp.search.certificates.certificate import verify as check
    from fsp.search.certificates.reading import read_certificate

    content = read_certificate(certificate)
    verdict = check(content)
    if as_json:
        told = {"holds": verdict.holds, "reasons": verdict.reasons, "believed": verdict.believed}
        print(json.dumps({**told, **verdict.result}))
    else:
        _print_verdict(content, verdict)
    if not verdict.holds:
        raise typer.Exit(1)


def choose(
    study: Annotated[
        str,
        typer.Argument(help="Folder of a run or an extraction, journal file or database URL.", show_default=False),
    ],
    space: Annotated[
        str | None, typer.Option(help="Name of a search space, or a .toml or .py file.", show_default="the study's")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="limits: least error within the limits; w: largest W-coefficient.")
    ] = "limits",
    limit: LimitOfLatency = None,
    speed: Speed = "operations",
    size: Annotated[str, typer.Option(help="For w, p: parameters or encoder_parameters.")] = "parameters",
    name: Annotated[
        str | None, typer.Option(help="Which study, if the file holds several of the space.", show_default="the only")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a finished study again with other limits, without training."""
    from fsp.search.choice import choose as ask
    from fsp.search.limits import parse_limits
    from fsp.spaces.loading import load_space

    answer = ask(
        study,
        None if space is None else load_space(space),
        objective=objective,  # type: ignore[arg-type]
        limits=parse_limits(limit),
        size=size,  # type: ignore[arg-type]
        name=name,
        speed=speed,
    )
    sizes = ["parameters", "encoder_parameters", "operations", *(["latency"] if "latency" in answer.table else [])]
    rows = answer.table[[*answer.selected, *sizes, "error", "score", "wins"]].head(1 + _SHOWN)
    if as_json:
        runners_up = json.loads(rows.iloc[1:].to_json(orient="records"))
        share = json.loads(rows.iloc[:1].to_json(orient="records"))[0]["wins"]
        print(
            json.dumps(
                {
                    "selected": dict(answer.selected),
                    "objective": objective,
                    "limits": answer.limits,
                    "study": answer.study,
                    "evaluated": len(answer.table),
                    "win_share": share,
                    "runners_up": runners_up,
                }
            )
        )
        return
    print(f"chosen: {answer.selected}, of {len(answer.table)} evaluated candidates")
    if rows["wins"].isna().all():
        print("one seed per candidate does not show how certain the choice is (fsp extract --seeds 3 evaluates more)")
        rows = rows.drop(columns="wins")
    print(rows.to_string(index=False, float_format="{:.4g}".format))


def _print_verdict(content: dict[str, Any], verdict: "Verdict") -> None:
    result = verdict.result
    print("the claim holds" if verdict.holds else "the claim does not hold")
    for reason in verdict.reasons:
        print(f"  {reason}")
    print(result["statement"])
    if verdict.holds and not result["reached"]:
        print(f"the gap asked for, {at_least(content['target'])}, was not reached")
    tested = result["evidence"]
    if tested["violated"]:
        print(f"  the least tau that no pair contradicts is {up(tested['least_tau'])}")
    if audit := result["audit"]:
        print(
            f"audit: {audit['audited']} candidates drawn at random, {audit['failures']} below their bound; "
            f"at most {at_most(audit['share_at_most'], 1)} of the rest are"
        )
    if result["final_gap"] is not None:
        transfer = content["assumptions"]["transfer"]
        print(f"after full training the gap is at most {at_most(result['final_gap'])} ({transfer['source']})")
    print("believed, as nothing in the file can show it:")
    for fact in verdict.believed:
        print(f"  {fact}")
