"""Advice about families that fsp does not train itself, shared by every command that refuses one."""

from fsp.families.family import known_families

_PRETRAINED = ("gpt2", "modernbert")  # families that fsp.distillation.pretraining trains, besides bert


def other_way(family: str) -> str:
    """Return a text that says what fsp trains, and what the user can do with another family.

    Args:
        family: a name, or a model type that may not belong to any family.

    Example:
        >>> "for family vit use fsp.extract(space, error=...) with an error of your own" in other_way("vit")
        True
    """
    own = "fsp cuts, trains, exports and times saved models of BERT and RoBERTa alone"
    if family not in known_families():
        return f"{own}; for other networks write a family and an error of your own (docs/own-space.md)"
    distilled = "fsp pretrain SHAPE --teacher DIR --steps N, " if family in _PRETRAINED else ""
    return (
        f"{own}; for family {family} use fsp.extract(space, error=...) with an error of your own, {distilled}"
        "and fsp latency measure SPACE T (docs/own-space.md)"
    )
