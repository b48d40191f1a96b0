"""One assignment of a family's architectural parameters."""

from collections.abc import Iterator, Mapping

from fsp.base.errors import InputError


class Architecture(Mapping[str, int]):
    """One assignment of the architectural parameters: an immutable, hashable mapping from name to integer.

    Example:
        >>> bort = Architecture(D=4, A=8, H=1024, I=768)
        >>> bort["H"], str(bort)
        (1024, 'D=4 A=8 H=1024 I=768')
        >>> Architecture.parse("D=4,A=8,H=1024,I=768") == bort
        True
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int] | None = None, /, **named: int):
        merged = {**(values or {}), **named}
        for name, value in merged.items():
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise InputError(f"{name}={value} is not a positive integer")
        self._values = {name: int(value) for name, value in merged.items()}

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Return the architecture written as `D=4 A=8` or `D=4,A=8`. Raises InputError for any other text."""
        values: dict[str, int] = {}
        for part in text.replace(",", " ").split():
            name, _, number = part.partition("=")
            if not name.isidentifier() or not number.isascii() or not number.isdecimal() or len(number) > 9:
                raise InputError(f"cannot read {part!r}; write an architecture as D=4,A=8,H=1024,I=768")
            if name in values:
                raise InputError(f"{name} is given twice in {text!r}")
            values[name] = int(number)
        if not values:
            raise InputError("the architecture is empty; write e.g. D=4,A=8,H=1024,I=768")
        return cls(values)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._values.items())

    def __repr__(self) -> str:
        return f"Architecture({str(self).replace(' ', ', ')})"
