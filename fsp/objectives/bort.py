"""The published sizes of Bort, which are not those of the published shape but of the shape with H and I swapped."""

from typing import Any

from fsp.families.architecture import Architecture
from fsp.objectives.counts import sizes
from fsp.spaces.space import SearchSpace

SHAPE = Architecture(D=4, A=8, H=1024, I=768)
SWAPPED = Architecture(D=4, A=8, H=768, I=1024)
PUBLISHED = {  # arXiv 2010.10499, in millions and percent; BERT-large likewise: 340, 31.8, 90.6
    "parameters_millions": 56.0,
    "embedding_millions": 39.0,
    "encoder_percent": 30.3,
    "effective_percent": 5.5,
}


def published_and_computed(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Return the `published` figures, and the same figures `computed` for the published shape and the `swapped` one.

    The computed networks have a pooler and an MLM head (dense, layer norm, bias; its matrix is tied), which the
    published total includes. `effective_percent` is the encoder's share of T's encoder.

    Args:
        space: `bert_large`.

    Example:
        >>> from fsp.spaces.loading import load_space
        >>> found = published_and_computed(load_space("bert_large"))
        >>> {name: round(value, 1) for name, value in found["swapped"].items() if name != "architecture"}
        {'parameters_millions': 56.0, 'embedding_millions': 39.0, 'encoder_percent': 30.3, 'effective_percent': 5.2}
    """
    return {
        "published": {"architecture": str(SHAPE), **PUBLISHED},
        "computed": _computed(space, SHAPE),
        "swapped": _computed(space, SWAPPED),
    }


def _computed(space: SearchSpace, shape: Architecture) -> dict[str, Any]:
    counted = {name: int(value[0]) for name, value in sizes(space, space.point(shape)).items()}
    full = int(sizes(space, space.point(space.maximum))["encoder_parameters"][0])
    dense = shape["H"] * shape["H"] + shape["H"]
    total = counted["parameters"] + 2 * dense + 2 * shape["H"] + space.constants["vocabulary"]
    return {
        "architecture": str(shape),
        "parameters_millions": total / 1e6,
        "embedding_millions": counted["embedding_parameters"] / 1e6,
        "encoder_percent": 100 * (total - counted["embedding_parameters"]) / total,
        "effective_percent": 100 * counted["encoder_parameters"] / full,
    }


def lines(space: SearchSpace) -> list[str]:
    """Return the comparison as text, one line per shape and a conclusion."""
    found = published_and_computed(space)
    names = {"published": "published", "computed": "counted", "swapped": "H, I swapped"}
    rows = [
        f"{names[key]:<13}{row['architecture']:<24}{row['parameters_millions']:6.1f}M, "
        f"embeddings {row['embedding_millions']:.1f}M, encoder and heads {row['encoder_percent']:.1f}%, "
        f"encoder {row['effective_percent']:.1f}% of T's"
        for key, row in found.items()
    ]
    return [
        "Bort, with pooler and MLM head (published: arXiv 2010.10499):",
        *rows,
        "The published sizes are those of the shape with H and I swapped, not of the published shape.",
    ]
