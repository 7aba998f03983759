"""The bytes of an image file -> its pixels: the one way of import, prediction and serving."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, ImageOps

from synth.canvas import MAX_PIXELS, NO_MEMORY, Canvas, normalise
from synth.errors import InputError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".webp"),
)
# Those that say by their first bytes what they are and in their header how large, and that are not
# read when they are cut. Not: TGA, of which any bytes may be one; PCX, of which a cut one is read;
# ICO and AVIF, whose pictures may be much larger than they say; what runs code or another program
# (EPS, WMF). WebP where Pillow was built with it. PPM: also what the pixels of formats without
# image files in them become, see `pixel_file`.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
# Other images, by how their names end and by what they begin with: told as not read, not left out
UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".ico", ".cur", ".icns", ".tga", ".pcx", ".psd"),
    *(".svg", ".eps", ".wmf", ".emf", ".dds", ".sgi", ".xbm", ".xpm", ".qoi", ".dib", ".mpo"),
)
_UNREAD = (
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\0\0\2\0", "TGA or CUR"),
    (0, b"icns", "ICNS"),
    (0, b"8BPS", "PSD"),
    (0, b"<svg", "SVG"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
)
PAPER = 255  # tone of the paper in exported images; ink is dark, as on a scan
_settled = False  # are the filters of warnings set for good?


def settle_warnings() -> None:
    """For a process that decodes in threads: sets for good what `filtered_warnings` sets a while.

    The filters are those of the process: a thread that puts back what it had found takes away what
    another one relies on.
    """
    global _settled
    _filter_warnings()
    _settled = True


@contextmanager
def filtered_warnings() -> Iterator[None]:
    """Within it Pillow raises what it else only warns of, where that matters."""
    if _settled:
        yield
        return
    with warnings.catch_warnings():
        _filter_warnings()
        yield


def _filter_warnings() -> None:
    warnings.simplefilter("ignore")  # odd metadata does not matter
    warnings.filterwarnings("error", message=".*[Tt]runcated")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


class TooManyPixels(InputError):
    """An image that says it has more than are read."""


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The bytes of an image file -> its first frame, decoded whole and turned upright.

    Raises InputError with the reason: no image, none of FORMATS, cut or damaged; and TooManyPixels,
    before anything is decoded, for more than `max_pixels`.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with filtered_warnings():
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > max_pixels:
                raise TooManyPixels(f"{width} x {height} pixels, the limit is {max_pixels}")
            if image.format == "PNG" and not _png_is_whole(data):
                raise InputError("the file is cut")
            image.load()
            return ImageOps.exif_transpose(image)
        except InputError:
            raise
        except Image.UnidentifiedImageError:
            raise InputError(_no_image(data)) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise TooManyPixels(f"too many pixels, the limit is {max_pixels}") from None
        except MemoryError:
            raise InputError(NO_MEMORY) from None
        except Exception as error:  # a damaged file makes Pillow's plugins raise nearly anything
            text = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"damaged ({text})") from None


def decode(data: bytes, canvas: Canvas, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The bytes of an image file -> [H, W] uint8 on the canvas. Raises InputError: the reason."""
    return normalise(open_image(data, max_pixels), canvas)


def decode_as_is(data: bytes, canvas: Canvas) -> np.ndarray:
    """The bytes of an image file that is on the canvas already -> [H, W] uint8, ink high on 0.

    The inverse of `encode`. Raises InputError where it is not gray or of another size.
    """
    image = open_image(data)
    if image.mode != "L" or image.size != (canvas.size_px, canvas.size_px):
        raise InputError(
            f"{image.width} x {image.height} pixels of mode {image.mode}; taken as it is, an image "
            f"must be gray and {canvas.size_px} x {canvas.size_px}"
        )
    return PAPER - np.asarray(image)


def encode(image: np.ndarray) -> bytes:
    """[H, W] uint8, ink high on 0 -> the bytes of a PNG file, dark ink on white paper."""
    stream = io.BytesIO()
    Image.fromarray(PAPER - image).save(stream, "PNG")
    return stream.getvalue()


def pixel_file(pixels: np.ndarray) -> bytes:
    """[h, w] or [h, w, 3] uint8 -> the bytes of a PGM or PPM file, which `open_image` reads."""
    height, width = pixels.shape[:2]
    kind = b"P5" if pixels.ndim == 2 else b"P6"
    return b"%s %d %d 255\n" % (kind, width, height) + pixels.tobytes()


def _no_image(data: bytes) -> str:
    """Why a file that is none of FORMATS is not read."""
    for at, start, name in _UNREAD:
        if data.startswith(start, at):
            return f"not an image of a format that is read ({name}); save it as PNG"
    return "not an image" if data else "empty file"


def _png_is_whole(data: bytes) -> bool:
    """Whether the chunks reach IEND: Pillow itself is content without the last ones."""
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False
