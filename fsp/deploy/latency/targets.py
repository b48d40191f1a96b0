"""The networks to time, named on the command line by directory, or by search space and shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsp.base.errors import InputError
from fsp.families.architecture import Architecture
from fsp.families.family import Family, family_of_type
from fsp.spaces.loading import load_space
from fsp.spaces.space import SearchSpace, family_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fsp.deploy.serving import Serving


@dataclass(frozen=True)
class Target:
    """A network to time: a saved model, or a shape of a search space with random weights.

    Exactly one of `folder` and `shape` is set, the latter with its `space`.

    Attributes:
        name: its name in results.
        words: the words from which `parse_targets` makes it.
        folder: the model directory.
        space: the search space of the shape; of a directory, one that brings the family of its network along.
        shape: the shape.
    """

    name: str
    words: tuple[str, ...]
    folder: Path | None = None
    space: SearchSpace | None = None
    shape: Architecture | None = None

    @property
    def family(self) -> Family:
        """The network's family. Raises InputError if that of a directory is not known."""
        if self.space is not None:
            return family_of(self.space)
        from fsp.distillation.models.folder import encoder_in
        from fsp.distillation.models.own import model_type_in

        return family_of_type(model_type_in(encoder_in(self.folder or Path())))

    def load(self) -> "Loaded":
        """Return the network, ready to run in float32 on the CPU."""
        import torch

        from fsp.deploy.serving import can_be_served, load_saved, serving_of
        from fsp.distillation.models.own import is_own, load_own

        if self.folder is not None:
            if not is_own(self.folder):
                return Loaded(load_saved(self.folder).serving)
            network = load_own(self.folder, self.family).requires_grad_(False)
            return Loaded(network, self.family, self.family.constants_of(network.config))
        assert self.space is not None
        assert self.shape is not None
        torch.manual_seed(0)
        network = self.family.build(self.shape, self.space.constants).eval().requires_grad_(False)
        return (
            Loaded(serving_of(network))
            if can_be_served(network)
            else Loaded(network, self.family, self.space.constants)
        )


@dataclass(frozen=True)
class Loaded:
    """A network in memory.

    Attributes:
        network: the network.
        family: the family that defines its inputs; None for a `Serving` network, which does so itself.
        constants: the family's constants of the network.
    """

    network: "nn.Module"
    family: Family | None = None
    constants: Mapping[str, int] = field(default_factory=dict)

    @property
    def serving(self) -> "Serving":
        """The network in a form that can be exported. Raises InputError if it has none."""
        from fsp.deploy.serving import Serving

        if not isinstance(self.network, Serving):
            raise InputError("networks that transformers does not know have no export; time them in eager or compile")
        return self.network

    def inputs(self, batch: int, length: int) -> "dict[str, Tensor]":
        """Return inputs without padding: of text only token ids, which is the fastest way to call torch's networks.

        Raises:
            InputError: the network takes no input of that length.
        """
        from fsp.deploy.serving import Serving

        if isinstance(self.network, Serving):
            return self.network.inputs(batch=batch, length=length)
        assert self.family is not None
        most = self.constants.get("positions")
        if most is not None and length > most:
            raise InputError(f"length {length} is out of range; the network takes 1 to {most}")
        return self.family.inputs(self.constants, batch=batch, length=length)


def _is_of(space: SearchSpace, folder: Path) -> bool:
    """Return whether a directory holds a network of a space's family that no family of that name is installed for."""
    from fsp.distillation.models.own import is_own, model_type_in

    return not isinstance(space.family, str) and is_own(folder) and model_type_in(folder) in space.family.MODEL_TYPES


def check_inside(space: SearchSpace, shape: Mapping[str, int]) -> None:
    """Raise InputError unless a shape is one of a space's candidates or its maximum point."""
    space.point(shape)
    if above := [name for name in space.names if shape[name] > space.maximum[name]]:
        name = above[0]
        raise InputError(f"{name}={shape[name]} is above the maximum point's {space.maximum[name]} of {space.name}")
    if dict(shape) == dict(space.maximum):
        return
    if off := [name for name in space.names if shape[name] not in space.parameters[name]]:
        name = off[0]
        choices = ", ".join(map(str, space.parameters[name]))
        raise InputError(f"{name}={shape[name]} is no choice of {space.name}, which has {choices}; T is its maximum")
    if broken := space.broken_rules(shape):
        text = " ".join(f"{name}={value}" for name, value in shape.items())
        raise InputError(f"{text} breaks the rule {broken[0]!r} of space {space.name}; choose another shape")


def parse_targets(words: Sequence[str]) -> list[Target]:
    """Return the networks that command-line words name.

    A word is a model directory, the name or file of a search space, or (part of) a shape of the space before it:
    `D=4,A=8,H=1024,I=768`, or its parts as words of their own, or `T` for the maximum point. A directory with a network
    of one's own family is named after a space that brings the family.

    Raises:
        InputError: a word is none of these, a shape has no space before it or lies outside it, or nothing is named.

    Example:
        >>> [target.name for target in parse_targets(["minilm", "D=3,A=8,H=256,I=512", "T"])]
        ['minilm D=3 A=8 H=256 I=512', 'minilm T']
    """
    targets: list[Target] = []
    space: SearchSpace | None = None
    of_space = ""
    parts: list[str] = []

    def finish() -> None:
        if not parts:
            return
        if space is None:
            raise InputError(f"{' '.join(parts)}: name the search space before its shapes")
        shape = Architecture.parse(" ".join(parts))
        check_inside(space, shape)
        ordered = Architecture({name: shape[name] for name in space.names})
        targets.append(Target(f"{space.name} {ordered}", (of_space, *str(ordered).split()), space=space, shape=ordered))
        parts.clear()

    for word in words:
        if "=" in word:
            if {part.partition("=")[0] for part in parts} & {word.partition("=")[0]} or "," in word:
                finish()
            parts.append(word)
            if "," in word:
                finish()
            continue
        finish()
        if word == "T" and space is not None:
            targets.append(Target(f"{space.name} T", (of_space, "T"), space=space, shape=Architecture(space.maximum)))
        elif Path(word).is_dir():
            brought = space is not None and _is_of(space, Path(word))
            words_of = (of_space, word) if brought else (word,)
            targets.append(Target(word, words_of, folder=Path(word), space=space if brought else None))
        elif len(Path(word).parts) > 1 and not Path(word).suffix:
            raise InputError(f"{word}: there is no such folder")
        else:
            space, of_space = load_space(word), word
    finish()
    if space is not None and not any(target.space is not None for target in targets):
        raise InputError(f"no shape of {of_space} is named; add one, or T: fsp latency measure {of_space} T")
    if not targets:
        raise InputError("name a model directory, or a search space and shapes of it (T for its maximum point)")
    names = [target.name for target in targets]
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise InputError(f"{twice[0]} is named twice")
    return targets


def describe(target: Target) -> dict[str, Any]:
    """Return a network to time as a JSON-like value."""
    if target.folder is not None:
        return {"name": target.name}
    assert target.space is not None
    assert target.shape is not None
    return {
        "name": target.name,
        "space": target.space.name,
        "architecture": dict(target.shape),
        "weights": "random",
    }
