"""A run's result as sentences and table rows, for both the terminal and the page."""

import shlex
from typing import Any

from fsp.search.maximal import evidence_text

NAMES = {
    "T": "T",
    "choice": "choice",
    "largest": "most parameters",
    "even": "most even",  # of earlier versions
    "layer drop": "layer drop",
    "static": "static",
}
_RUNTIMES = {"eager": "", "int8": ", int8"}

COLUMNS = {
    "model": "model",
    "shape": "shape",
    "encoder": "encoder (M)",
    "total": "total (M)",
    "bytes": "weights (MB)",
    "operations": "operations (G)",
    "latency": "latency (ms, quartiles)",
    "error": "error",
}


_ERRORS = {  # of runs of earlier versions, which had no tasks
    "states": "1 − R² of T's token states read from the student's",
    "logits": "KL(T ‖ student) in nats at masked positions",
}
_EARLIER = {"spearman": "Spearman"}
_SENTENCES = {  # what the figures of a task say, in words
    "spearman": "its sentence similarities rank like T's with Spearman {}",
    "neighbours": "it shares {:.0%} of T's ten nearest neighbours",
    "cosine": "its embeddings have a mean cosine of {} to T's",
    "perplexity": "its perplexity is {} (T: {T})",
    "agreement": "it agrees with T on {:.1%} of {unit}",
    "accuracy": "it is right on {:.1%} (T: {T:.1%})",
}


def error_of(result: dict[str, Any]) -> str:
    """Return a description of the run's errors."""
    if "task" in result:
        return str(result["task"]["compares"])
    return _ERRORS[result.get("matching", "states")]


def unit_of(result: dict[str, Any]) -> str:
    """Return what the run's budgets are counted in: tokens or samples."""
    return str(result["task"]["unit"]) if "task" in result else "tokens"


def columns_of(result: dict[str, Any]) -> dict[str, str]:
    """Return the titles of the columns of `model_rows`, by key."""
    known = result["task"]["figures"] if "task" in result else _EARLIER
    first = result["models"][0]
    titles = {key: title for key, title in COLUMNS.items() if key != "bytes" or "bytes" in first}
    titles |= {kind: title for kind, title in known.items() if kind in figures_of(first)}
    for part, found in first.get("elsewhere", {}).items():
        kind = next(iter(found["figures"]), "error")
        titles[f"{part} {kind}"] = f"{known.get(kind, kind)} in {part}"
    return titles


def figures_of(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model's figures beside its error, by name; those of earlier versions lie beside it."""
    found: dict[str, Any] = model.get("figures", {kind: model[kind] for kind in _EARLIER if kind in model})
    return found


def name_of(model: dict[str, Any]) -> str:
    """Return a model's name in tables, with its runtime unless that is torch's eager mode."""
    return NAMES[model["name"]] + _RUNTIMES[model.get("runtime", "eager")]


def shape_text(shape: dict[str, int]) -> str:
    """Return an architecture as `D=3 A=8 H=256 I=768`."""
    return " ".join(f"{name}={value}" for name, value in shape.items())


def with_half_width(summary: dict[str, Any], digits: int = 3) -> str:
    """Return a mean over seeds, with ± half its 95% confidence interval if there is one."""
    half = summary["half_width_95"]
    return f"{summary['mean']:.{digits}f}" + (f" ± {half:.{digits}f}" if half is not None else "")


def model_rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """Return the table of T, the choice and the baselines as text, keyed by the names in `columns_of`."""
    return [
        {
            "model": name_of(model),
            "shape": shape_text(model["architecture"]) or "no layers",
            "encoder": _plain(model["encoder_parameters"] / 1e6, 2),
            "total": _plain((model["parameters"] + model["readout_parameters"]) / 1e6, 2),
            "bytes": _plain(model.get("bytes", 0) / 1e6, 1),
            "operations": _plain(model["operations"] / 1e9, 2) if model["operations"] else "0",
            "beaten": model.get("beaten_by") or "",
            "latency": "{} ({}-{})".format(
                *(_plain(model["latency"][name], 1) for name in ("median_ms", "lower_quartile_ms", "upper_quartile_ms"))
            ),
            "error": with_half_width(model["error"]),
            **{kind: with_half_width(found) for kind, found in figures_of(model).items()},
            **{
                f"{part} {kind}": with_half_width(value)
                for part, found in model.get("elsewhere", {}).items()
                for kind, value in {"error": found["error"], **found["figures"]}.items()
            },
        }
        for model in result["models"]
    ]


def _plain(value: float, digits: int) -> str:
    """Return a number with so many decimals, or with two significant digits if they would leave fewer.

    Example:
        >>> _plain(12.345, 2), _plain(0.00123, 2)
        ('12.35', '0.0012')
    """
    return f"{value:.{digits}f}" if value >= 10 ** (1 - digits) else f"{value:.2g}"


def headline(result: dict[str, Any]) -> list[str]:
    """Return what was chosen, how much smaller and faster it is, and what W would have chosen, one sentence each."""
    models = {model["name"]: model for model in result["models"] if model.get("runtime", "eager") == "eager"}
    full, choice, search = models["T"], models["choice"], result["search"]
    limits = " and ".join(
        f"{limit / full[name]:.0%} of T's {name.replace('_', ' ')}" for name, limit in search["limits"].items()
    )
    finalists = search.get("finalists")  # runs of earlier versions have none
    best = f"the least error of {len(finalists)} finalists trained longer, from" if finalists else "the least error of"
    lines = [
        f"Chosen: {shape_text(result['selected'])}, {best} the {search['evaluated']} candidates evaluated, "
        f"of {search['feasible']} within {limits}.",
        *_maximal(search),
        f"Its encoder has {choice['encoder_parameters'] / full['encoder_parameters']:.0%} of T's parameters "
        f"({choice['parameters'] / full['parameters']:.0%} with embeddings), needs "
        f"{choice['operations'] / full['operations']:.0%} of its operations and runs "
        f"{full['latency']['median_ms'] / choice['latency']['median_ms']:.1f} times as fast.",
        f"Its error on unseen data is {choice['error']['mean']:.3f} ({error_of(result)})"
        f"{_in_words(full, choice, unit_of(result))}.",
    ]
    lines += _otherwise(result["models"])
    controls = result.get("controls")
    if controls:
        lines.append(
            f"For scale: T without any layer has a search error of {controls['D=0']:.3f}, the best constant prediction "
            f"{controls['mean']:.3f}; the choice's was {result['search_error']:.3f}."
        )
    for name, what in (("total", "all parameters"), ("encoder", "encoder parameters")):
        w = result["w_choice"][name]
        same = w["architecture"] == result["selected"]
        other = f"{shape_text(w['architecture'])}, at {w['error_ratio']:.2f} times the choice's search error"
        line = f"Of the evaluated, W over {what} would have chosen {'the same' if same else other}"
        edge = w["at_lower_edge_in"]
        lines.append(line + (f" (at the lower edge of the space in {', '.join(edge)})." if edge else "."))
    return lines


def _otherwise(models: list[dict[str, Any]]) -> list[str]:
    """Return which models no other beats in every column, and by what the choice is beaten."""
    if "beaten_by" not in models[0]:
        return []  # of an earlier version
    labels = {f"{model['name']} {model['runtime']}": name_of(model) for model in models}
    best = [name_of(model) for model in models if model["beaten_by"] is None]
    lines = [f"Models that no other beats in speed, size and every figure at once: {'; '.join(best)}."]
    int8 = {model["name"]: model for model in models if model["runtime"] == "int8"}
    if {"T", "choice"} <= set(int8):
        faster = int8["T"]["latency"]["median_ms"] / int8["choice"]["latency"]["median_ms"]
        errors = [with_half_width(int8[name]["error"]) for name in ("choice", "T")]
        lines.append(
            f"In int8 the choice runs {faster:.1f} times as fast as T in int8, with an error of {errors[0]} against "
            f"{errors[1]}."
        )
    for model in models:
        if model["name"] == "choice" and model["beaten_by"] is not None:
            by = labels[model["beaten_by"]]
            lines.append(f"{name_of(model).capitalize()} is beaten in all of them by {by}: take that.")
    return lines


def _in_words(full: dict[str, Any], choice: dict[str, Any], unit: str) -> str:
    """Return what the figures of the choice say of so many tokens or samples, as the rest of a sentence."""
    said, of_t = "", figures_of(full)
    for kind, found in figures_of(choice).items():
        text = _SENTENCES.get(kind, f"its {kind} is {{}}")
        value = found["mean"]
        shown = text.replace("{}", "{:.3f}").replace("{T}", "{T:.3f}").format(value, T=of_t[kind]["mean"], unit=unit)
        said += f"; {shown}"
    return said


def _maximal(search: dict[str, Any]) -> list[str]:
    """Return a sentence on the evaluated shapes and their test of M, if the method is `maximal`."""
    if search.get("method") != "maximal":  # runs of earlier versions do not store their method, which was `interval`
        return []
    looked_at = search["evaluated"] - search["audit"]
    count = "the" if looked_at == search["maximal"] else f"the largest {looked_at} of the"
    audit = f", {search['audit']} below them" if search["audit"] else ""
    return [
        f"Evaluated: {count} {search['maximal']} maximal shapes, which no other within the limits exceeds{audit}. "
        f"{evidence_text(**search['monotonicity'])}."
    ]


CARD_COLUMNS = {
    "surrogate": "surrogate",
    "overall": "Spearman",
    "bands": "inside size bands (95% interval)",
    "least": "least band",
    "top": "top 10% shared",
    "regret": "largest regret",
    "finalists": "of five finalists",
    "w": "of W",
    "cost": "seconds",
}


def card_rows(card: dict[str, Any]) -> list[dict[str, str]]:
    """Return a report card's surrogates as text, keyed by the names in `CARD_COLUMNS`."""
    return [
        {
            "surrogate": name,
            "overall": _number(found["spearman"]),
            "bands": f"{_number(found['spearman_in_bands'])} "
            f"({_number(found['spearman_in_bands_interval'][0])} to {_number(found['spearman_in_bands_interval'][1])})",
            "least": _number(found["least_in_bands"]),
            "top": _number(found["top10_overlap"], ".0%"),
            "regret": _number(max(found["regrets"]), ".1%"),
            "finalists": _number(max(found["finalists_regrets"]), ".1%"),
            "w": _number(found["w_regret"], ".1%"),
            "cost": _number(card["seconds"].get(name), ".1f"),
        }
        for name, found in card["rankings"].items()
    ]


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def trust(result: dict[str, Any]) -> str:
    """Return a paragraph on how far the search's error can be trusted."""
    card = result.get("card")
    if not card:
        return (
            "No report card of this teacher's surrogate error is on record, so it is not known how well the search "
            "error ranks candidates of similar size. `fsp error card` measures it."
        )
    ranking = next(iter(card["rankings"].values()))
    steps, ceiling = card["steps"], ranking["ceiling_in_bands"]
    noise = f"; the noise of long training itself allows {ceiling:.2f}" if ceiling is not None else ""
    inside = card["rankings"][f"s={steps}"]["spearman_in_bands"]
    same = card["corpus"] == result.get("config", {}).get("corpus")
    return (
        f"Against long training of {card['shapes']} shapes of space {card['space']}, the search error after {steps} "
        f"steps ranks shapes of similar size with Spearman {_number(inside)}{noise}. "
        f"{'' if same else 'That was measured on a different text from that of this run. '}"
        "Smaller is better for every surrogate; zero-cost ones train nothing."
    )


_OPTIONS = (
    "method",
    "interval",
    "evaluations",
    "steps",
    "finalists",
    "anchors",
    "longer",
    "minutes",
    "tokens",
    "epochs",
    "seeds",
    "seed",
    "threads",
)
_GIVEN = ("teacher", "column", "labels", "task", "device", "dtype")


def command(result: dict[str, Any]) -> str:
    """Return the command that repeats a run; runs of earlier versions do not store a given teacher or corpus."""
    from fsp.spaces.loading import load_space, shipped_spaces

    config = {"method": "interval", **result["config"]}  # runs of earlier versions had no other method
    space = config["space"]
    name = space["name"]
    shipped = load_space(name).describe() if name in shipped_spaces() else {}
    known = shipped and all(
        space.get(part, shipped[part]) == shipped[part] for part in ("parameters", "rules", "maximum")
    )
    words = ["fsp", "run", name if known else f"{name}.toml", "--out", f"runs/{name}"]
    given = result.get("given", {})
    for option in _GIVEN:
        if given.get(option):
            words += [f"--{option}", given[option]]
    for path in given.get("corpus", ()):
        words += ["--corpus", path]
    for limit, value in (config.get("limits") or {}).items():
        words += ["--limit", f"{limit}={value}"]
    for option in _OPTIONS:
        if config.get(option) is not None:
            words += [f"--{option}", str(config[option])]
    return shlex.join(words)
