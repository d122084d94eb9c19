"""Pictures as models take them, from files and from memory, which may hold anything."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from paretoprune.errors import BrokenFileError, InvalidValueError, plain
from paretoprune.files import require_regular

MAX_PIXELS = 50_000_000
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned."""
SIDEWAYS = (5, 6, 7, 8)
WIDTH_AND_HEIGHT = (256, 257)
BITS, PHOTOMETRIC = 258, 262
"""TIFF tags: size as stored, bits per sample, and whether 0 is white (0) or black (1)."""
ALLOWED = "a PIL picture, or uint8 of shape [height, width] or [height, width, 1, 3 or 4]"
PNG_SCALES = {"L;2": 85, "L;4": 17}
"""Factors by which PIL multiplies grey values of few bits."""
CONVERTED = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
"""Modes that PIL converts to RGB with the right values."""
TRANSPARENT = {"LA": "RGBA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA", "La": "LA"}
"""Modes with transparency, and the mode that each is converted to first."""
FOREIGN = (
    OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError,
    RuntimeError, struct.error, zlib.error, MemoryError,
)  # fmt: skip
"""Exceptions of PIL's readers for truncated or inconsistent files."""


def read_picture(file: Path) -> Image.Image:
    """A picture file as RGB, turned as its EXIF data say, transparency on white; the first frame.

    Raises `BrokenFileError` in one sentence for a file that is missing, is no picture, ends early,
    or has more than `MAX_PIXELS`.
    """
    return _read(file, f"picture {plain(str(file))}", plain(str(file)))


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height as `read_picture` gives them, read from the file's header alone."""
    what, name = f"picture {plain(str(file))}", plain(str(file))
    with _opened(file, what, name) as picture:
        width, height = picture.size
        turned = picture.getexif().get(ORIENTATION, 1) in SIDEWAYS
        if picture.format == "TIFF":  # PIL turns these itself, from some version on their size too
            width, height = (picture.tag_v2[tag] for tag in WIDTH_AND_HEIGHT)  # type: ignore[attr-defined]
        return (height, width) if turned else (width, height)


def as_picture(value: Any) -> Any:
    """A picture in memory as models take it: PIL in RGB, or `uint8 [height, width, 3]`.

    Pictures of these forms are returned unchanged. Grey and transparent pictures and arrays are
    converted as `read_picture` does. Raises `InvalidValueError` for anything else, whose values or
    axes would have to be guessed.
    """
    if isinstance(value, Image.Image):
        try:
            if not all(value.size):
                raise BrokenFileError(f"a picture has {value.width} x {value.height} pixels")
            return _as_rgb(value, "a picture", _Origin.of(value))
        except BrokenFileError as error:
            raise InvalidValueError(str(error)) from error
        except FOREIGN as error:  # it is loaded only now
            raise InvalidValueError(f"a picture cannot be loaded: {plain(str(error))}") from error
    is_array = hasattr(value, "__array__") and hasattr(value, "shape")
    shape = list(value.shape) if is_array else []
    kind = str(value.dtype).removeprefix("torch.") if is_array else ""
    grey = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
    if not (kind == "uint8" and all(shape) and (grey or (len(shape) == 3 and shape[2] in (3, 4)))):
        shown = f"{kind} of shape {shape}" if is_array else plain(repr(value)[:60])
        raise InvalidValueError(f"a picture is {shown}; allowed: {ALLOWED}")
    if shape[2:] == [3]:
        return value
    pixels = np.asarray(value)
    drawn = Image.fromarray(pixels[..., 0] if shape[2:] == [1] else pixels)
    return _as_rgb(drawn, "a picture", _Origin.of(drawn))


def read_picture_bytes(content: bytes, name: str) -> Image.Image:
    """The same of a file's content; errors call it `name`."""
    return _read(io.BytesIO(content), f"picture of {name}", name)


def read_base64_picture(text: str, name: str) -> Image.Image:
    """The same of base64, with or without a `data:` prefix."""
    written = text.partition(",")[2] if text.startswith("data:") else text
    try:
        content = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenFileError(f"{name} is no base64 of a picture: {error}") from error
    return read_picture_bytes(content, name)


def _read(source: Path | IO[bytes], what: str, name: str) -> Image.Image:
    with _opened(source, what, name) as picture:
        origin = _Origin.of(picture)  # before it is loaded
        return _as_rgb(ImageOps.exif_transpose(picture), what, origin)


@contextlib.contextmanager
def _opened(source: Path | IO[bytes], what: str, name: str) -> Iterator[Image.Image]:
    """A picture of an allowed size; whatever goes wrong within is one sentence."""
    if isinstance(source, Path):
        require_regular(source, "picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as picture:
                width, height = picture.size
                if not (0 < width * height <= MAX_PIXELS):
                    raise BrokenFileError(
                        f"{what} has {width} x {height} pixels; allowed: 1 to {MAX_PIXELS:,}"
                    )
                yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"{what} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise BrokenFileError(f"{name} is no picture that can be read (PNG, JPEG, ...)") from error
    except FOREIGN as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenFileError(f"cannot read {what}: {plain(reason)}") from error


@dataclass(frozen=True)
class _Origin:
    """The encoding of a picture's values: its file's format, TIFF tags, and PNG's raw mode."""

    format: str | None
    tags: Mapping[int, Any]
    raw: str

    @classmethod
    def of(cls, picture: Image.Image) -> _Origin:
        """That of a picture which is not loaded; of a loaded one, as far as it says."""
        tiles = getattr(picture, "tile", None)
        raw = tiles[0].args if tiles and picture.format == "PNG" else ""
        return cls(picture.format, dict(getattr(picture, "tag_v2", {})), str(raw))

    @property
    def white(self) -> int:
        """The largest number of grey values of more than 8 bits."""
        bits = self.tags.get(BITS, (16,))
        white: int = 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
        return white


def _as_rgb(picture: Image.Image, what: str, origin: _Origin) -> Image.Image:
    """A picture as RGB, transparency on white; raises `BrokenFileError` for unknown values."""
    mode, clear = picture.mode, picture.info.get("transparency")
    if mode.startswith("I;16") or (mode == "I" and origin.format in ("PNG", "PPM")):
        return _from_16_bits(picture, origin, clear)
    if mode not in CONVERTED and mode not in TRANSPARENT:
        raise BrokenFileError(
            f"{what} has PIL's mode {mode}, whose values are not known to be colours; convert it "
            "to RGB"
        )
    if clear is not None and origin.raw.endswith(";16B"):
        raise BrokenFileError(
            f"{what} has a transparent colour of 16 bits, which is not read; convert it to 8 bits"
        )
    if clear is None and mode in CONVERTED:
        return picture if mode == "RGB" else picture.convert("RGB")
    if clear is not None and origin.raw in PNG_SCALES:
        picture = picture.copy()  # PIL scales its values to 8 bits, but not the transparent one
        picture.info["transparency"] = clear * PNG_SCALES[origin.raw]
    layers = picture.convert(TRANSPARENT.get(mode, "RGBA")).convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def _from_16_bits(picture: Image.Image, origin: _Origin, clear: int | None) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    grey = (values * 255 + origin.white // 2) // origin.white
    if origin.tags.get(PHOTOMETRIC) == 0:  # PIL turns this around for 8 bits only
        grey = 255 - grey
    if clear is not None:
        grey[values == clear] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
