"""Reads a picture from a file, which may be anything."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from paretoprune.errors import BrokenFileError

MOST_PIXELS = 50_000_000


def read_picture(file: Path) -> Image.Image:
    """A picture file as RGB, turned as its EXIF data say, transparency on white; the first frame.

    Raises `BrokenFileError` in one sentence for a file that is missing, is no picture, ends early,
    or has more than `MOST_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as found:
                width, height = found.size
                if width * height > MOST_PIXELS:
                    raise BrokenFileError(
                        f"picture {file} has {width} x {height} pixels, more than {MOST_PIXELS:,}"
                    )
                turned = ImageOps.exif_transpose(found)
                return _on_white(turned)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenFileError(f"picture {file} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise BrokenFileError(f"{file} is no picture that can be read (PNG, JPEG, ...)") from error
    except (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError) as error:
        # what PIL's readers raise for files that end early or lie about themselves
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenFileError(f"cannot read picture {file}: {reason}") from error


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return picture.convert("RGB")
