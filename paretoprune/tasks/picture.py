"""Reads a picture from a file, which may be anything."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from paretoprune.errors import BrokenFileError, plain

MOST_PIXELS = 50_000_000
ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned."""
SIDEWAYS = (5, 6, 7, 8)


def read_picture(file: Path) -> Image.Image:
    """A picture file as RGB, turned as its EXIF data say, transparency on white; the first frame.

    Raises `BrokenFileError` in one sentence for a file that is missing, is no picture, ends early,
    or has more than `MOST_PIXELS`.
    """
    return _read(file, f"picture {plain(str(file))}", plain(str(file)))


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height as `read_picture` gives them, read from the file's header alone."""
    try:
        with Image.open(file) as found:
            width, height = found.size
            turned = found.getexif().get(ORIENTATION, 1) in SIDEWAYS
    except UnidentifiedImageError as error:
        raise BrokenFileError(f"{file} is no picture that can be read (PNG, JPEG, ...)") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenFileError(f"cannot read picture {file}: {reason}") from error
    return (height, width) if turned else (width, height)


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as found:
                width, height = found.size
                if width * height > MOST_PIXELS:
                    raise BrokenFileError(
                        f"{what} has {width} x {height} pixels, more than {MOST_PIXELS:,}"
                    )
                turned = ImageOps.exif_transpose(found)
                return _on_white(turned)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"{what} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise BrokenFileError(f"{name} is no picture that can be read (PNG, JPEG, ...)") from error
    except (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError) as error:
        # what PIL's readers raise for files that end early or lie about themselves
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenFileError(f"cannot read {what}: {reason}") from error


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return picture.convert("RGB")
