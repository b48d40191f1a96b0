"""`fsp finetune`: a text classifier from few rows, by Agora or a rival."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fsp.base.option import Option
from fsp.base.progress import Bars
from fsp.base.rounding import at_least, at_most
from fsp.cli.fields import expanded
from fsp.cli.options import Bounds, Json
from fsp.finetuning.settings import FinetuningSettings
from fsp.finetuning.theta import load_theta


@dataclass(frozen=True)
class _Rows:
    """Options for the labelled rows; each field is documented by its option."""

    train: Annotated[Path, Option("CSV, TSV, JSON, JSON Lines or parquet file of the rows to train on.")]
    dev: Annotated[Path, Option("File of the rows to compare fits on; their mistakes are expanded.")]
    test: Annotated[Path | None, Option("File of the rows of the final figures.", shown="a third of dev")] = None
    text: Annotated[
        tuple[str, ...], Option("Column of text; twice for pairs.", shown="text, text_pair, or sentence")
    ] = ()
    label: Annotated[str, Option("Column of the label.")] = "label"


@expanded
def finetune(
    *,
    model: Annotated[str, typer.Argument(help="Hugging Face directory or hub name.", show_default=False)],
    rows: _Rows,
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")],
    labeller: Annotated[
        str | None,
        typer.Option(
            help="For agora: tfidf, probe:DIR (an encoder) or DIR (a trained classifier).", show_default="none"
        ),
    ] = None,
    theta: Annotated[str, typer.Option(help="Hyperparameter sets: small, bort, or a JSON file.")] = "small",
    settings: FinetuningSettings,
    bounds: Bounds,
    as_json: Json = False,
) -> None:
    """Fine-tune a text classifier on few rows and save the best.

    Interrupted, the same command goes on where it was; run several times at once, the runs share the fits.
    """
    from fsp.finetuning.finetune import finetune as fine_tune

    settings = replace(settings, theta=load_theta(theta))
    result = fine_tune(model, **asdict(rows), out=out, labeller=labeller, settings=settings, display=Bars())
    if as_json:
        print(json.dumps(result))
    else:
        print("\n".join([*_lines(result), f"model: {out / 'model'}"]))


def _lines(result: dict[str, Any]) -> list[str]:
    final, search, rows = result["final"], result["search"], result["rows"]
    low, high = final["interval_95"]
    lines = [
        f"accuracy {final['accuracy']:.1%} ({at_least(low, 1)} to {at_most(high, 1)}) on {rows['final']:,} rows of the "
        f"{final['set']}; guessing the most frequent label: {final['majority']:.1%}"
    ]
    if "first_round" in final:
        added = result["added"]
        lines += [
            f"on the same rows: best of the first round, that is grid search, {final['first_round']:.1%}; "
            f"labeller {final['labeller']:.1%}",
            f"points: {added['generated']} generated, {added['kept']} added, {added['near_dev']} of them near-copies "
            f"of dev, {added['as_source']} labelled as the row that they were made of; "
            f"dropped: {added['dropped_near_final']} near-copies of the {final['set']}, "
            f"{added['dropped_known']} known, {added['dropped_doubtful']} doubtful",
        ]
        if 2 * added["as_source"] < added["kept"]:
            lines.append(
                "warning: fewer than half of the points got the label of their row, less than the theory asks; "
                "compare --expand random, and --method grid"
            )
    if "before_refit" in final:
        lines.append(f"on the same rows: before the refit on train and dev {final['before_refit']:.1%}")
    failed = f", {len(search['failed'])} failed" if search["failed"] else ""
    lines.append(f"{search['fits']} fits{failed}; chosen: {result['chosen']['theta']}")
    if result["outside_theory"]:
        lines.append(f"{len(result['labels'])} labels: the theory is about two")
    return lines
