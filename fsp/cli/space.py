"""The commands `fsp space` and `fsp size`: search spaces, and the size of one shape. Only `--check` imports torch."""

import json
from typing import Annotated, Any

import typer

from fsp.base.errors import InputError
from fsp.cli.options import Json, Space


def space(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of a search space, or a .toml or .py file.", show_default="list all"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Build a sample of networks and compare; 1 if something is wrong.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the search spaces, or describe one of them."""
    from fsp.families.family import load_family
    from fsp.spaces.loading import load_space, with_usual_constants

    if name is None:
        if check:
            raise InputError("--check needs the name of a search space")
        _list(as_json)
        return
    found = load_space(name)
    load_family(found.family)
    found, lender = with_usual_constants(found)
    described = found.describe() | ({"constants_of": lender} if lender else {})
    if check:
        from fsp.objectives.checks import check_space

        described["check"] = check_space(found)
    print(json.dumps(described) if as_json else "\n".join(_described(described)))
    if check and not described["check"]["passed"]:
        raise typer.Exit(1)


def size(
    space: Space,
    architecture: Annotated[list[str], typer.Argument(help="A shape, as D=4 A=8 H=1024 I=768.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Count the parameters and operations of one shape."""
    from fsp.base.defaults import BATCH, LENGTH
    from fsp.families.architecture import Architecture
    from fsp.objectives import bort
    from fsp.objectives.checks import heads_partition
    from fsp.objectives.counts import operations, sizes
    from fsp.spaces.loading import load_space, with_usual_constants

    found, lender = with_usual_constants(load_space(space))
    shape = Architecture.parse(" ".join(architecture))
    point = found.point(shape)
    if above := [name for name in found.names if shape[name] > found.maximum[name]]:
        raise InputError(
            f"{above[0]}={shape[above[0]]} is above the maximum point's {found.maximum[above[0]]} of space {found.name}"
        )
    if broken := found.broken_rules(shape):
        raise InputError(f"{shape} breaks the rule {broken[0]!r} of space {found.name}; choose another shape")
    full = int(sizes(found, found.point(found.maximum))["encoder_parameters"][0])
    counted = {name: int(count[0]) for name, count in sizes(found, point).items()}
    facts: dict[str, Any] = {
        "space": found.name,
        "architecture": dict(shape),
        "candidate": bool((found.candidates == point).all(axis=1).any()),
        **counted,
        "operations": int(operations(found, point)[0]),
        "batch": BATCH,
        "length": LENGTH,
        "effective_fraction": counted["encoder_parameters"] / full,
        **({"constants_of": lender} if lender else {}),
        "head_dim": shape["H"] // shape["A"] if heads_partition(found) else None,
    }
    of_length = operations(found, point, length=LENGTH + 1) != operations(found, point)
    is_bort = found.name == "bert_large" and shape == bort.SHAPE
    if as_json:
        print(json.dumps(facts | ({"bort": bort.published_and_computed(found)} if is_bort else {})))
        return
    kind = "a candidate" if facts["candidate"] else "T" if shape == found.maximum else "no candidate"
    print(f"{shape}, {kind} of {found.name}")
    print(f"parameters   {counted['parameters']:>16,}")
    print(f"  embeddings {counted['embedding_parameters']:>16,}")
    print(f"  encoder    {counted['encoder_parameters']:>16,}  {facts['effective_fraction']:.1%} of T's")
    print(f"operations   {facts['operations']:>16,}  batch {BATCH}{f', {LENGTH} tokens' if of_length.all() else ''}")
    if lender:
        print(f"counted with the tables of {lender}: the space has no [constants] and takes those of its T")
    if facts["head_dim"]:
        print(f"a head has {facts['head_dim']} of the {shape['H']} hidden values")
    if is_bort:
        print("\n".join(["", *bort.lines(found)]))


def _list(as_json: bool) -> None:
    from fsp.spaces.loading import installed_spaces, load_space, shipped_spaces

    shipped = [load_space(name).describe() for name in shipped_spaces()]
    others = {name: entry.value for name, entry in installed_spaces().items() if name not in shipped_spaces()}
    if as_json:
        print(json.dumps({"shipped": shipped, "installed": others}))
        return
    for found in shipped:
        maximum = " ".join(f"{name}={value}" for name, value in found["maximum"].items())
        print(f"{found['name']:<12} {found['candidates']:>6,} candidates of family {found['family']} below {maximum}")
    for name, value in others.items():
        print(f"{name:<12} installed: {value}")


def _described(found: dict[str, Any]) -> list[str]:
    """Return the lines that describe a space, and its check if there is one."""
    lines = [f"{found['name']}: {found['candidates']:,} candidates of family {found['family']}"]
    for name, choices in found["parameters"].items():
        kind = ", neutral" if name in found["neutral"] else ""
        lines.append(f"  {name:<4} {' '.join(map(str, choices))}  (T: {found['maximum'][name]}{kind})")
    lines += [f"  rule {rule}" for rule in found["rules"]]
    lines.append("  " + ", ".join(f"{name} {value:,}" for name, value in found["constants"].items()))
    if "constants_of" in found:
        lines[-1] += f": those of {found['constants_of']}, as the space has none and takes those of its T"
    if "check" not in found:
        return lines
    check = found["check"]
    lines += ["", f"check: {'passed' if check['passed'] else 'failed'}, {check['built']} networks built"]
    lines += [f"  problem: {problem}" for problem in check["problems"]]
    lines += [f"  T itself breaks the rule {rule}" for rule in check["maximum_breaks"]]
    if check["flops_share"]:
        least, most = check["flops_share"].values()
        lines.append(f"  torch's FLOP counter sees {least:.1%} to {most:.1%} of the operations")
    for name, share in (check["middle_share"] or {}).items():
        lines.append(
            f"  the middle layers hold {share['least']:.1%} to {share['most']:.1%} of the {name} "
            f"(median {share['median']:.1%}; below half in {share['below_half']:.0%} of the candidates)"
        )
    steady = [name for name, grows in check["monotone"].items() if all(grows.values())]
    lines.append(f"  neither parameters nor operations fall where one of {', '.join(steady) or 'no size'} grows")
    for name, grows in check["monotone"].items():
        lines += [f"  {objective} can fall where {name} grows" for objective, holds in grows.items() if not holds]
    if check["head_dim"]:
        lines.append(f"  head dimension {check['head_dim']['least']} to {check['head_dim']['most']}")
    return lines
