"""Where and in which numbers a network runs: `--device` and `--dtype`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from fsp.base.errors import InputError, is_out_of_memory
from fsp.base.option import DEVICE, DTYPE

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")
_TENSOR_CORES = (8, 0)  # the first compute capability whose tensor cores take bfloat16
_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Settings that say where networks run, with an option for each.

    Attributes:
        device: where networks run.
        dtype: numbers that they compute with; see `Device.chosen`.
    """

    device: Annotated[str, DEVICE] = "auto"
    dtype: Annotated[str, DTYPE] = "auto"

    @property
    def place(self) -> "Device":
        """The device. Raises InputError if there is none such."""
        return Device.chosen(self.device, self.dtype)


@dataclass(frozen=True)
class Device:
    """A device and the type of numbers that networks compute with on it.

    Attributes:
        name: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: float32, or bfloat16 for matrix products, with weights in float32.
        training: the same for the steps of students' training, and for T's outputs that they are trained on.
    """

    name: str = "cpu"
    dtype: str = "float32"
    training: str = "float32"

    @classmethod
    def chosen(cls, name: str = "auto", dtype: str = "float32") -> "Device":
        """Return a device that exists.

        Args:
            name: `auto` is the first GPU if there is one, else the CPU.
            dtype: numbers of matrix products; `auto` is float32, and bfloat16 for the training of students where the
                processor has instructions for it, which are two to four times as fast.

        Raises:
            InputError: there is no such device, or it has no bfloat16.
        """
        import torch

        if dtype not in DTYPES:
            raise InputError(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")
        mps = torch.backends.mps.is_available()
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        kind, colon, number = name.partition(":")
        if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
            raise InputError(f"no device {name!r}; there are auto, cpu, cuda, cuda:N and mps")
        if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not mps):
            raise InputError(f"this machine or its torch has no device {name}; use --device cpu or auto")
        if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            raise InputError(f"there is no {name}; this machine has {torch.cuda.device_count()} (cuda:0 is the first)")
        if dtype == "auto":
            return cls(name, "float32", "bfloat16" if _multiplies_bfloat16(kind) else "float32")
        if dtype == "bfloat16" and (kind == "mps" or (kind == "cuda" and not torch.cuda.is_bf16_supported())):
            raise InputError(f"device {name} has no bfloat16; use --dtype float32")
        return cls(name, dtype, dtype)

    @property
    def torch(self) -> "torch.device":
        """The device as torch names it."""
        import torch

        return torch.device(self.name)

    @property
    def kind(self) -> str:
        """What numbers depend on: the kind of device, and the model of a GPU."""
        import torch

        return torch.cuda.get_device_name(self.torch) if self.name.startswith("cuda") else self.torch.type

    def describe(self) -> dict[str, str]:
        """Return what numbers depend on, as a JSON-like value."""
        return {"device": self.kind, "dtype": self.dtype, "training_dtype": self.training}

    @contextmanager
    def computing(self, *, training: bool = False) -> Iterator[None]:
        """Compute matrix products in this block in the device's type of numbers, or in that of training."""
        import torch

        numbers = self.training if training else self.dtype
        with torch.autocast(self.torch.type, torch.bfloat16, enabled=numbers == "bfloat16"):
            yield

    def finished(self, call: Callable[[], _Found]) -> Callable[[], _Found]:
        """Return a call that ends when the device has done its work; a GPU's otherwise only queues it."""
        if self.name == "cpu":
            return call

        def whole() -> _Found:
            import torch

            found = call()
            torch.accelerator.synchronize(self.torch)
            return found

        return whole


def _multiplies_bfloat16(kind: str) -> bool:
    """Return whether a kind of device has instructions for bfloat16; without them it is slower than float32."""
    import torch

    if kind == "cuda":
        return torch.cuda.get_device_capability() >= _TENSOR_CORES
    has = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def in_parts(
    size: int, most: int, work: Callable[[int, int], _Found], say: Callable[[str], object] = lambda text: None
) -> Iterator[_Found]:
    """Yield the results of work on all parts of `size` rows, halving the parts whenever memory does not suffice.

    Args:
        size: number of rows.
        most: largest number of rows of a part.
        work: takes the first row of a part and the one after its last.
        say: told when a part has been halved.

    Example:
        >>> list(in_parts(5, 2, lambda a, b: b - a))
        [2, 2, 1]
    """
    first = 0
    while first < size:
        try:
            found = work(first, min(first + most, size))
        except Exception as problem:
            if most == 1 or not is_out_of_memory(problem):
                raise
            most //= 2
            say(f"memory does not suffice; going on with {most} samples at a time")
            release()
            continue
        yield found
        first += most


def release() -> None:
    """Give memory that torch keeps for later back to the device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
