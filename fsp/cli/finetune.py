"""`fsp finetune`: a text classifier from few rows, by Agora or a rival."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fsp.base.progress import Bars
from fsp.base.rounding import at_least, at_most
from fsp.cli.options import Json, MaxMemory, MaxTime, Seed, Threads


def finetune(
    model: Annotated[str, typer.Argument(help="Hugging Face directory or hub name.", show_default=False)],
    train: Annotated[Path, typer.Option(help="CSV, TSV, JSON, JSON Lines or parquet file of the rows to train on.")],
    dev: Annotated[Path, typer.Option(help="File of the rows to compare fits on; their mistakes are expanded.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")],
    test: Annotated[
        Path | None, typer.Option(help="File of the rows of the final figures.", show_default="a third of dev")
    ] = None,
    labeller: Annotated[
        str | None,
        typer.Option(
            help="For agora: tfidf, probe:DIR (an encoder) or DIR (a trained classifier).", show_default="none"
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="agora, grid, random or hyperband.")] = "agora",
    theta: Annotated[str, typer.Option(help="Hyperparameter sets: small, bort, or a JSON file.")] = "small",
    pruning: Annotated[str, typer.Option(help="For agora: lcs-keep, lcs-paper, ties or halving.")] = "lcs-keep",
    replays: Annotated[int, typer.Option(help="For agora: repeat a round that did not improve so often.")] = 0,
    generator: Annotated[str, typer.Option(help="For agora: edits, mask:DIR or mix:DIR.")] = "edits",
    expand: Annotated[str, typer.Option(help="For agora: mistakes, or as many random rows of dev.")] = "mistakes",
    points: Annotated[int, typer.Option(help="For agora: generate at most so many points a row.")] = 2,
    confidence: Annotated[
        float, typer.Option(help="For agora: drop points whose label has a lower probability.")
    ] = 0.0,
    soft: Annotated[
        bool, typer.Option("--soft/--hard", help="For agora: train on the labeller's probabilities or likeliest label.")
    ] = True,
    refit: Annotated[bool, typer.Option("--refit", help="Fit the best once more on train and dev together.")] = False,
    force: Annotated[bool, typer.Option("--force", help="For agora: accept a labeller that only guesses.")] = False,
    steps: Annotated[int, typer.Option(help="Training steps of each fit.")] = 150,
    fits: Annotated[int | None, typer.Option(help="Make at most so many fits.", show_default="by the method")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Begin no fit after so much time in fits.", show_default="none")
    ] = None,
    head: Annotated[str, typer.Option(help="Classification head: model (the family's own) or bort.")] = "model",
    length: Annotated[int, typer.Option(help="Tokens after which a text is cut off.")] = 128,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column of text; twice for pairs.", show_default="text, text_pair, or sentence"),
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    seed: Seed = 0,
    threads: Threads = None,
    max_time: MaxTime = None,
    max_memory: MaxMemory = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a text classifier on few rows and save the best.

    Interrupted, the same command goes on where it was; run several times at once, the runs share the fits.
    """
    from fsp.finetuning.finetune import finetune as fine_tune
    from fsp.finetuning.settings import Settings
    from fsp.finetuning.theta import load_theta

    settings = Settings(
        method=method,
        theta=load_theta(theta),
        pruning=pruning,
        replays=replays,
        generator=generator,
        expand=expand,
        points=points,
        confidence=confidence,
        soft=soft,
        refit=refit,
        steps=steps,
        fits=fits,
        seconds=seconds,
        head=head,
        length=length,
        force=force,
        seed=seed,
        threads=threads,
    )
    result = fine_tune(
        model,
        train=train,
        dev=dev,
        out=out,
        labeller=labeller,
        test=test,
        text=text or (),
        label=label,
        settings=settings,
        display=Bars(),
    )
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
                "warning: fewer than every second point is labelled as its row, less than the theory asks; "
                "compare --expand random, and --method grid"
            )
    if "before_refit" in final:
        lines.append(f"on the same rows: before the refit on train and dev {final['before_refit']:.1%}")
    failed = f", {len(search['failed'])} failed" if search["failed"] else ""
    lines.append(f"{search['fits']} fits{failed}; chosen: {result['chosen']['theta']}")
    if result["outside_theory"]:
        lines.append(f"{len(result['labels'])} labels: the theory is about two")
    return lines
