import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from paretoprune.errors import BrokenFileError
from paretoprune.tasks.picture import read_picture


def png(width, height):
    """A small file that says it is large."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_usual_formats_are_read(tmp_path, kind):
    file = tmp_path / "a"
    Image.new("RGB", (5, 7), (200, 10, 10)).save(file, kind)
    found = read_picture(file)
    assert (found.mode, found.size) == ("RGB", (5, 7))
    assert abs(int(np.asarray(found)[3, 3, 0]) - 200) < 10


def test_transparency_becomes_white_and_pictures_are_turned(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(read_picture(tmp_path / "clear.png")) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (4, 8)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").size == (8, 4)
    for mode in ("L", "P", "1", "CMYK", "I;16"):
        suffix = "tiff" if mode == "CMYK" else "png"
        Image.new(mode, (4, 4)).save(tmp_path / f"x.{suffix}")
        assert read_picture(tmp_path / f"x.{suffix}").mode == "RGB"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "is no picture"),
        (b"hello", "is no picture"),
        (png(60_000, 60_000), "too large"),
        (png(9_000, 9_000), "9000 x 9000 pixels, more than"),
        (png(900, 900), "cannot read picture"),
        (png(900, 900)[:40], "cannot read picture|is no picture"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "is no picture|cannot read"),
        (b"GIF89a" + b"\xff" * 20, "is no picture|cannot read|pixels"),
    ],
)
def test_what_is_no_picture_is_said_in_one_sentence(tmp_path, content, words):
    file = tmp_path / "x.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BrokenFileError, match=words) as caught:
        read_picture(file)
    assert "\n" not in str(caught.value)
    assert "x.png" in str(caught.value)
