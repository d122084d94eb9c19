import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.tasks.base import Video, shown
from paretoprune.tasks.picture import as_picture, picture_size, read_picture, read_picture_bytes
from paretoprune.tasks.rows import Row


def png(width, height, *, bits=8, colour=2, clear=None, lines=b"\0" * 99):
    """A PNG file of these numbers as they are; by default a small file that says it is large."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + (b"" if clear is None else chunk(b"tRNS", clear))
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def saved(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def tiff(values, *, bits=16, sample_format=1, white_is_zero=False):
    """An uncompressed little-endian grey TIFF of one line."""
    data = np.asarray(values).tobytes()
    wide = len(data) * 8 // bits
    entries = [
        (256, 4, wide), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, not white_is_zero),
        (273, 4, 8), (277, 3, 1), (278, 4, 1), (279, 4, len(data)), (339, 3, sample_format),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, n) for tag, kind, n in entries)
    padded = data + b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + b"\0" * 4


def pixels(content):
    """The first line as `read_picture` gives it, the red channel where all are the same."""
    found = np.asarray(read_picture_bytes(content, "x"))[0]
    return found[:, 0].tolist() if (found == found[:, :1]).all() else found.tolist()


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
        (png(9_000, 9_000), "9000 x 9000 pixels; allowed: 1 to"),
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


SIXTEEN = np.array([[0, 128, 257, 32896, 65535]], np.uint16)  # 0, 0.498, 1, 128 and 255 times 257
EIGHT = [0, 0, 1, 128, 255]
TWELVE = bytes([0x00, 0x07, 0xFF, 0xFF, 0xF0, 0x00])  # 0, 0x7ff, 0xfff and 0


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (saved(Image.fromarray(SIXTEEN), "PNG"), EIGHT),
        (saved(Image.fromarray(SIXTEEN), "TIFF"), EIGHT),
        (saved(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"), EIGHT),
        (saved(Image.fromarray(SIXTEEN), "PPM"), EIGHT),
        (b"P5 2 1 1023\n" + np.array([0, 1023], ">u2").tobytes(), [0, 255]),
        (tiff(SIXTEEN), EIGHT),
        (tiff(SIXTEEN, white_is_zero=True), [255 - v for v in EIGHT]),
        (tiff(np.frombuffer(TWELVE, np.uint8), bits=12), [0, 127, 255, 0]),
        (png(2, 1, bits=16, colour=2, lines=b"\0" + b"\x80\x80" * 3 + b"\xff\xff" * 3), [128, 255]),
        # transparent on white
        (png(2, 1, bits=16, colour=0, clear=b"\0\0", lines=b"\0\0\0\x80\x80"), [255, 128]),
        (png(2, 1, bits=16, colour=4, lines=b"\0\0\0\0\0\x80\x80\xff\xff"), [255, 128]),
        (png(2, 1, colour=0, clear=b"\0\x07", lines=b"\0\x07\x08"), [255, 8]),
        (png(4, 1, bits=2, colour=0, clear=b"\0\1", lines=b"\0\x1b"), [0, 255, 170, 255]),
        (png(4, 1, bits=2, colour=0, clear=b"\0\0", lines=b"\0\x1b"), [255, 85, 170, 255]),
        (png(2, 1, bits=4, colour=0, clear=b"\0\3", lines=b"\0\x34"), [255, 68]),
        (png(2, 1, bits=1, colour=0, clear=b"\0\0", lines=b"\0\x40"), [255, 255]),
        (png(2, 1, colour=2, clear=b"\0\1\0\2\0\3", lines=b"\0\1\2\3\1\2\4"),
         [[255, 255, 255], [1, 2, 4]]),
    ],
)  # fmt: skip
def test_more_or_fewer_bits_than_eight_keep_their_brightness(content, wanted):
    """A 16-bit grey PNG was white wherever it was above 255."""
    assert pixels(content) == wanted


def grey(mode, *values):
    picture = Image.new(mode, (len(values), 1))
    picture.putdata(values)
    return picture


PALETTE = grey("P", 0, 1)
PALETTE.putpalette([255, 0, 0, 0, 0, 255])
MODES = {
    "1": (grey("1", 0, 255), [[0, 0, 0], [255, 255, 255]]),
    "L": (grey("L", 7, 200), [[7, 7, 7], [200, 200, 200]]),
    "LA": (grey("LA", (100, 255), (100, 0)), [[100, 100, 100], [255, 255, 255]]),
    "La": (grey("LA", (100, 255), (0, 0)).convert("La"), [[100, 100, 100], [255, 255, 255]]),
    "P": (PALETTE, [[255, 0, 0], [0, 0, 255]]),
    "PA": (PALETTE.convert("PA"), [[255, 0, 0], [0, 0, 255]]),
    "RGB": (grey("RGB", (1, 2, 3)), [[1, 2, 3]]),
    "RGBA": (grey("RGBA", (1, 2, 3, 255), (9, 9, 9, 0), (0, 0, 0, 128)),
             [[1, 2, 3], [255, 255, 255], [127, 127, 127]]),
    "RGBa": (grey("RGBA", (1, 2, 3, 255), (9, 9, 9, 0)).convert("RGBa"),
             [[1, 2, 3], [255, 255, 255]]),
    "RGBX": (grey("RGBX", (1, 2, 3, 0)), [[1, 2, 3]]),
    "CMYK": (grey("CMYK", (0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0)),
             [[255, 255, 255], [0, 0, 0], [0, 255, 255]]),
    "YCbCr": (grey("YCbCr", (50, 128, 128)), [[50, 50, 50]]),
    "HSV": (grey("HSV", (0, 255, 255), (0, 0, 77)), [[255, 0, 0], [77, 77, 77]]),
    "I;16": (grey("I;16", 257, 65535), [[1, 1, 1], [255, 255, 255]]),
    "I;16B": (Image.fromarray(np.array([[257, 65535]], ">u2")), [[1, 1, 1], [255, 255, 255]]),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pil_in_memory(mode):
    picture, wanted = MODES[mode]
    assert picture.mode == mode
    assert np.asarray(as_picture(picture))[0].tolist() == wanted
    assert np.asarray(Row("x", 1, {"image": picture}).picture())[0].tolist() == wanted
    (given,) = shown(picture)
    assert np.asarray(given)[0].tolist() == wanted


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_modes_whose_colours_are_not_known_are_refused(mode):
    """PIL cut `I` and `F` off at 255, and gives channels of `LAB` out as those of RGB."""
    picture = Image.new(mode, (3, 2))
    with pytest.raises(InvalidValueError, match=f"PIL's mode {mode}, .* convert it to RGB"):
        as_picture(picture)
    with pytest.raises(BrokenFileError, match=f"^picture of x has PIL's mode {mode}, "):
        read_picture_bytes(saved(picture, "TIFF"), "x")


def test_every_mode_that_pil_has_is_looked_at():
    known = {*MODES, "I", "F", "LAB", "I;16L", "I;16N"}
    assert set(Image.MODES) <= known


def test_signed_and_transparent_values_that_are_not_known_are_refused():
    signed = tiff(np.array([-1, 5], np.int16), sample_format=2)
    with pytest.raises(BrokenFileError, match="PIL's mode I, whose values are not known"):
        read_picture_bytes(signed, "x")
    lines = b"\0" + b"\x80\x80" * 3
    clear = png(1, 1, bits=16, colour=2, clear=b"\x80\x80" * 3, lines=lines)
    with pytest.raises(BrokenFileError, match="a transparent colour of 16 bits"):
        read_picture_bytes(clear, "x")


def test_palettes_with_transparency_lie_on_white():
    for clear in (0, bytes([0, 255])):
        assert pixels(saved(PALETTE, "PNG", transparency=clear)) == [[255, 255, 255], [0, 0, 255]]
    assert pixels(saved(PALETTE, "GIF", transparency=0)) == [[255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_of_several_frames_counts(kind):
    if kind == "AVIF" and not __import__("PIL.features").features.check("avif"):
        pytest.skip("this PIL reads no AVIF")
    red, blue = (Image.new("RGB", (8, 8), name) for name in ("red", "blue"))
    found = np.asarray(
        read_picture_bytes(saved(red, kind, save_all=True, append_images=[blue]), "x")
    )
    assert found[4, 4, 0] > 240 > 20 > found[4, 4, 2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(10))
def test_every_turn_of_exif_gives_the_same_picture_and_size(tmp_path, kind, turn):
    """The size of a turned TIFF from its header was that of the other orientation."""
    dark = np.full((16, 32, 3), 250, np.uint8)
    dark[:8, :16] = 5  # what is seen: upper left is dark
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = Image.fromarray(dark)
    stored = stored.transpose(undo[turn]) if turn in undo else stored
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "x", kind, exif=exif, **({"quality": 95} if kind != "TIFF" else {}))
    found = read_picture(tmp_path / "x")
    assert picture_size(tmp_path / "x") == found.size == (32, 16)
    assert np.abs(np.asarray(found)[::4, ::4].astype(int) - dark[::4, ::4]).max() < 60


@pytest.mark.parametrize("read", [read_picture, picture_size])
def test_sizes_and_kinds_of_files_are_checked_before_they_are_read(tmp_path, read):
    """The areas of a huge picture were counted; a pipe was waited for without an end."""
    big, none, pipe = (tmp_path / name for name in ("big.png", "none.ppm", "pipe.png"))
    big.write_bytes(png(60_000, 60_000))
    none.write_bytes(b"P6 0 3 255\n")
    os.mkfifo(pipe)
    for file, said in (
        (big, "is too large"), (none, "no picture|pixels; allowed"), (pipe, "is a pipe or device"),
        (tmp_path, "is a folder"),
    ):  # fmt: skip
        with pytest.raises(BrokenFileError, match=said):
            read(file)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_arrays_of_eight_bits_are_pictures(shape, kind):
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = np.asarray(as_picture(kind(values)))
    assert found.shape == (4, 5, 3)
    if shape[2:] == (4,):
        share = values[..., 3:] / 255
        assert np.abs(found - (values[..., :3] * share + 255 * (1 - share))).max() <= 1
    else:
        assert (found == values.reshape(4, 5, -1)).all()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((4, 5, 3), np.uint16), r"uint16 of shape \[4, 5, 3\]"),
        (np.zeros((4, 5, 3)), r"float64 of shape \[4, 5, 3\]"),
        (torch.zeros(4, 5, 3), r"float32 of shape \[4, 5, 3\]"),
        (np.zeros((4, 5), bool), r"bool of shape \[4, 5\]"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 of shape \[3, 4, 5\]"),
        (np.zeros((4, 5, 2), np.uint8), r"uint8 of shape \[4, 5, 2\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 of shape \[1, 4, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 of shape \[0, 5, 3\]"),
        (Image.new("RGB", (0, 5)), "0 x 5 pixels"),
        ("https://example.com/a.png", "'https://example.com/a.png'"),
        (None, "a picture is None"),
        (b"bytes", "a picture is b'bytes'"),
        (7, "a picture is 7"),
    ],
)
def test_what_is_no_picture_in_memory_is_refused(value, said):
    """Floats in 0..1 became black, 16 bits wrapped round, and a text was fetched as an address."""
    with pytest.raises(InvalidValueError, match=said):
        shown(value)


def test_frames_that_are_not_eight_bits_are_refused():
    with pytest.raises(InvalidValueError, match="frames of uint8, got float32"):
        Video(np.zeros((2, 4, 5, 3), np.float32))


def test_a_picture_that_ends_early_is_refused_when_it_is_shown():
    content = saved(Image.effect_noise((64, 64), 90), "PNG")
    with pytest.raises(InvalidValueError, match="a picture cannot be loaded"):
        as_picture(Image.open(io.BytesIO(content[: len(content) // 2])))


def test_a_reader_that_knows_no_such_pixels_is_one_sentence():
    """Found by mutation: PIL raises NotImplementedError here, and RuntimeError for AVIF."""
    content = bytearray(saved(Image.new("RGB", (8, 8)), "DDS"))
    content[80:84] = b"\0\0\0\0"  # flags of the pixel format
    with pytest.raises(BrokenFileError, match="cannot read picture of x: Unknown pixel format"):
        read_picture_bytes(bytes(content), "x")
