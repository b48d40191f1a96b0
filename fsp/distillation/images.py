"""Images in files, decoded when they are needed and prepared as T's image processor does it."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fsp.base.errors import InputError, untrusted

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # others are not tried: some of them start programs
_DEEP = ("I", "F")  # modes of more than 8 bits per value, which Pillow would cut off; the first letter
_AT_ONCE = 32  # images that are decoded before they are prepared

Process = Callable[[list[Image.Image]], NDArray[Any]]


@dataclass(frozen=True)
class Images:
    """Files of images; a slice of them is an array `n x channels x height x width` in float32.

    Attributes:
        paths: the files.
        process: prepares decoded images as T's image processor does; returns an array.
        shape: channels (1 or 3), height and width that T takes; None for three channels of any size.
    """

    paths: tuple[Path, ...]
    process: Process
    shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        chosen = self.paths[rows]
        done = [self._prepared(chosen[i : i + _AT_ONCE]) for i in range(0, len(chosen), _AT_ONCE)]
        return np.concatenate(done) if done else np.empty((0, *(self.shape or (3, 0, 0))), dtype=np.float32)

    def take(self, rows: Sequence[int]) -> "Images":
        """Return the images of the given rows."""
        return replace(self, paths=tuple(self.paths[row] for row in rows))

    def contents(self) -> list[bytes]:
        """Return a digest of the pixels of each image.

        Raises:
            InputError: a file cannot be read, or the first one, once prepared, is not of the shape that T takes.
        """
        self._prepared(self.paths[:1])
        return [_content(decoded(path, self._mode)) for path in self.paths]

    @property
    def _mode(self) -> str:
        return "L" if self.shape and self.shape[0] == 1 else "RGB"

    def _prepared(self, paths: Sequence[Path]) -> NDArray[np.float32]:
        images = [decoded(path, self._mode) for path in paths]
        with untrusted("T's image processor", "mend its settings"):
            found = np.asarray(self.process(images), dtype=np.float32)
        if self.shape is not None and found.shape != (len(paths), *self.shape):
            sizes = [" x ".join(map(str, shape)) for shape in (found.shape[1:], self.shape)]
            raise InputError(
                f"T's image processor makes images of {sizes[0]}, and T takes {sizes[1]}; mend its settings"
            )
        return found


def find_images(folder: Path) -> tuple[list[Path], list[str] | None]:
    """Return the images in a folder, and the names of their classes if it holds one folder per class.

    Hidden files are left out.

    Raises:
        InputError: there is no such folder; a file is no image; images lie beside folders, or deeper than the classes.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    inside = _visible(folder)
    classes = [path for path in inside if path.is_dir()]
    if classes and len(classes) < len(inside):
        beside = next(path for path in inside if not path.is_dir())
        raise InputError(f"{beside} lies beside folders of images; move it into the folder of its class")
    found = [(path, one.name) for one in classes for path in _visible(one)]
    for path, _ in found:
        if path.is_dir():
            raise InputError(f"{path} lies too deep; name the folder whose folders are the classes")
    files = [path for path, _ in found] if classes else inside
    for path in files:
        if path.suffix.lower() not in ENDINGS:
            raise InputError(f"{path} is no image ({', '.join(ENDINGS)}); convert or remove it")
    return files, [name for _, name in found] if classes else None


def decoded(path: Path, mode: str) -> Image.Image:
    """Return the image in a file, turned upright, in a mode of Pillow.

    Raises:
        InputError: the file is not readable as an image of 8 bits per value.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Pillow cuts colours of 16 bits off without a mode that says so
            deep = file.format == "PNG" and any(";16" in str(tile) for tile in file.tile)
            image = ImageOps.exif_transpose(file)
            image.load()
    except Exception as problem:  # damaged images lead to errors of many kinds
        detail = " ".join(str(problem).replace(repr(str(path)), "it").split())[:100]
        raise InputError(f"cannot read the image {path} ({detail}); mend or remove it") from None
    if deep or image.mode.startswith(_DEEP):
        raise InputError(f"{path} has more than 8 bits per value; convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _content(image: Image.Image) -> bytes:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None
