"""Damaged and odd image files end in a reason or an image, within bounded memory and time."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import draw_strokes
from PIL import Image

from synth.canvas import MAX_PIXELS, Canvas, to_gray
from synth.decode import decode, open_image
from synth.errors import InputError

# an image of MAX_PIXELS in four channels of a byte, gray in float beside it, and as much again
MEMORY_MIB = 1100


def look(data: bytes) -> str:
    """The way of import, prediction and serving."""
    image = decode(data, Canvas())
    assert image.shape == (64, 64) and image.dtype == np.uint8
    return "read"


def good_files() -> dict[str, bytes]:
    gray = draw_strokes(1)
    wide = np.asarray(gray).astype(np.uint16) * 257
    other = draw_strokes(2)
    files: dict[str, bytes] = {}

    def save(name: str, image: Image.Image, form: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        files[name] = buffer.getvalue()

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        save(f"png {mode}", gray.convert(mode), "PNG")
    save("png 16 bit", Image.fromarray(wide), "PNG")
    save("png animated", gray, "PNG", save_all=True, append_images=[other])
    for mode in ("L", "RGB", "CMYK"):
        save(f"jpeg {mode}", gray.convert(mode), "JPEG")
    save("jpeg progressive", gray, "JPEG", progressive=True)
    save("gif animated", gray, "GIF", save_all=True, append_images=[other, gray])
    for how in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"):
        save(f"tiff {how}", gray, "TIFF", compression=how)
    save("tiff 16 bit", Image.fromarray(wide), "TIFF")
    save("tiff float", gray.convert("F"), "TIFF")
    save("tiff CMYK", gray.convert("CMYK"), "TIFF")
    save("tiff LAB", gray.convert("RGB").convert("LAB"), "TIFF")
    save("tiff pages", gray, "TIFF", save_all=True, append_images=[other])
    save("bmp L", gray, "BMP")
    save("bmp RGB", gray.convert("RGB"), "BMP")
    save("webp", gray.convert("RGB"), "WEBP")
    save("webp lossless", gray.convert("RGBA"), "WEBP", lossless=True)
    save("webp animated", gray, "WEBP", save_all=True, append_images=[other])
    save("ppm", gray.convert("RGB"), "PPM")
    save("pgm", gray, "PPM")
    save("jpeg 2000", gray, "JPEG2000")
    save("jpeg 2000 RGBA", gray.convert("RGBA"), "JPEG2000")
    save("jpeg 2000 stream", gray.convert("RGB"), "JPEG2000", no_jp2=True)
    return files


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body


def odd_numbers() -> dict[str, np.ndarray]:
    """Pixels that are no tones."""
    most = np.finfo(np.float32).max
    return {
        "all -3": np.full((9, 9), -3, np.float32),
        "all -3, whole numbers": np.full((9, 9), -3, np.int32),
        "all numbers": np.linspace(-1, 1, 81, dtype=np.float32).reshape(9, 9) * most,
        "no numbers": np.full((9, 9), np.nan, np.float32),
        "too large": np.full((9, 9), np.inf, np.float32),
        "large": np.full((9, 9), most, np.float32),
    }


def made() -> Iterator[Case]:
    """What no mutation makes."""
    yield "nothing", b""
    for size in (1, 3, 8):
        yield f"{size} zero bytes", bytes(size)
    for text in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"\x7fELF", b"GIF89a"):
        yield repr(text[:8]), text
    for name, values in odd_numbers().items():
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "TIFF")
        yield name, buffer.getvalue()
    yield "HTML under an image's name", b"<!doctype html><title>404</title>" * 50
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    yield "1 pixel", png(1, 1, b"\0\0")
    yield "0 pixels wide", png(0, 5, b"")
    yield "20,000 x 1", png(20_000, 1, b"\0" + b"\xff" * 20_000)
    yield "1 x 20,000", png(1, 20_000, b"\0\xff" * 20_000)
    yield "20,000 x 20,000", png(20_000, 20_000, bytes(5_000_000))
    yield "2^31 - 1 squared", png(2**31 - 1, 2**31 - 1, b"\0")
    for name, data in good_files().items():
        yield f"{name} twice", data + data
        yield f"{name} with a tail", data + b"\0" * 1000


def bombs() -> Iterator[Case]:
    """Small files that unpack to much."""
    high = MAX_PIXELS // 8000
    yield "the most that is read", png(8000, high, (b"\0" + b"\xff" * 8000) * high)
    bomb = zlib.compress(bytes(200_000_000), 9)
    yield "a text of 200 MB", png(9, 9, b"\0" * 90, chunk(b"zTXt", b"note\0\0" + bomb))
    yield "a colour profile of 200 MB", png(9, 9, b"\0" * 90, chunk(b"iCCP", b"icc\0\0" + bomb))
    yield "200 MB for 81 pixels", png(9, 9, bytes(200_000_000))
    yield "a million text chunks", png(9, 9, b"\0" * 90, chunk(b"tEXt", b"a\0b") * 100_000)


def test_every_kind_is_read_as_it_is() -> None:
    """Or the damage below would prove nothing."""
    kinds = list(good_files().items())
    assert try_all(look, kinds, MEMORY_MIB, good=True) == {"read": len(kinds)}


def test_made_up_files() -> None:
    outcomes = try_all(look, list(made()), MEMORY_MIB)
    assert outcomes["refused"] >= 13 and outcomes["read"] >= 40, outcomes


@pytest.mark.slow
def test_bombs() -> None:
    assert try_all(look, list(bombs()), MEMORY_MIB, each_s=30)["read"] >= 1


@pytest.mark.parametrize("each", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_damaged_files(each: int) -> None:
    cases = [
        (f"{name}, {what}", data)
        for name, good in good_files().items()
        for what, data in mutations(good, each, seed=each)
    ]
    outcomes = try_all(look, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases)
    assert outcomes["refused"] > len(cases) / 10 and outcomes["read"] > len(cases) / 20, outcomes


def test_numbers_below_nothing_are_stretched() -> None:
    """The darkest is black and the lightest white, whatever they are; no number, no picture."""
    for name, values in odd_numbers().items():
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "TIFF")
        if not np.isfinite(values).all():
            with pytest.raises(InputError, match="no finite numbers"):
                decode(buffer.getvalue(), Canvas())
            continue
        gray = to_gray(open_image(buffer.getvalue()))
        assert gray.dtype == np.uint8
        if name == "all numbers":
            assert np.abs(gray.ravel() - np.linspace(0, 255, 81)).max() <= 1
        else:
            assert len(np.unique(gray)) == 1, name


def test_a_jpeg_2000_that_says_it_is_small_is_not_unpacked() -> None:
    """Its outer header is what is looked at before anything is decoded."""
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000), 255).save(buffer, "JPEG2000")
    data = buffer.getvalue()
    at = data.index(b"ihdr") + 4
    lying = data[:at] + struct.pack(">II", 64, 64) + data[at + 8 :]
    assert open_image(data).size == (3000, 3000)
    with pytest.raises(InputError, match="damaged"):
        open_image(lying)
