"""The rasteriser draws what FreeType draws from the font itself, the right way round."""

from __future__ import annotations

import ctypes
from pathlib import Path

import freetype
import freetype.raw as ft
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from test_synth_fonts import box, build_font

from synth.canvas import Canvas
from synth.fonts import ASSETS, FontFile, open_font
from synth.glyphs import RawOutline
from synth.handwriting import Shapes
from synth.outlines import Outline
from synth.raster import _crowded, plain_pictures, rasterise

SIZE, EM = 64, 48
CANVAS = Canvas(SIZE)
FONTS = ["klee-one", "kouzan-brush", "zen-kurenaido"]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB, of uint8 images."""
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def shapes_of(outlines: list[Outline], scale: float, x: float, y: float) -> Shapes:
    """Outlines on their baseline at (x, y), `scale` px an em, not bent."""
    points = [o.points * scale + np.float32([x, y]) for o in outlines]
    sizes = np.cumsum([0, *map(len, points)])
    contours = [o.starts[:-1] + s for o, s in zip(outlines, sizes, strict=False)]
    return Shapes(
        np.concatenate(points).astype(np.float32),
        np.append(np.concatenate(contours), sizes[-1]),
        np.cumsum([0, *(len(o.component) for o in outlines)]),
    )


def drawn_by_freetype(path: Path, char: str, x: int, y: int) -> np.ndarray:
    face = freetype.Face(str(path))
    face.set_pixel_sizes(0, EM)
    face.load_char(char, freetype.FT_LOAD_RENDER | freetype.FT_LOAD_NO_HINTING)
    glyph, bitmap = face.glyph, face.glyph.bitmap
    out = np.zeros((SIZE, SIZE), np.uint8)
    rows = np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)[:, : bitmap.width]
    top, left = y - glyph.bitmap_top, x + glyph.bitmap_left
    out[top : top + bitmap.rows, left : left + bitmap.width] = rows
    return out


@pytest.mark.parametrize("name", FONTS)
def test_undeformed_outlines_are_what_freetype_draws(name: str) -> None:
    file, chars = FontFile(ASSETS / f"{name}.woff"), "永國三口心あARg8"
    outlines = [open_font(file).outline(c) for c in chars]
    images = rasterise(shapes_of(outlines, EM, 8, 50), CANVAS)
    assert (images.shape, images.dtype) == ((len(chars), SIZE, SIZE), np.uint8)
    for char, image in zip(chars, images, strict=True):
        assert psnr(image, drawn_by_freetype(file.path, char, 8, 50)) > 38, char


@pytest.mark.parametrize("name", FONTS)
def test_right_way_round_as_pillow_draws(name: str) -> None:
    file, chars = FontFile(ASSETS / f"{name}.woff"), "FR永あ力ら"
    font = open_font(file)
    chars = [c for c in chars if font.outline(c) is not None]
    ours = rasterise(shapes_of([font.outline(c) for c in chars], EM, 8, 50), CANVAS)
    pen = ImageFont.truetype(file.path, EM, layout_engine=ImageFont.Layout.BASIC)
    for char, image in zip(chars, ours, strict=True):
        picture = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(picture).text((8, 50), char, font=pen, fill=255, anchor="ls")
        theirs = np.asarray(picture)
        flips = {"same": theirs, "mirrored": theirs[:, ::-1], "upside down": theirs[::-1]}
        flips["turned"] = theirs[::-1, ::-1]
        # Pillow hints: edges lie up to half a pixel elsewhere
        alike = {k: np.corrcoef(image.ravel(), v.ravel())[0, 1] for k, v in flips.items()}
        assert alike["same"] > 0.85 and max(alike, key=alike.get) == "same", (char, alike)


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_overlapping_strokes_stay_ink(tmp_path: Path, cff: bool) -> None:
    cross = [box(350, 0, 450, 800), box(0, 350, 800, 450)]
    font = open_font(build_font(tmp_path / "cross.otf", {"十": cross}, cff=cff))
    bent = rasterise(shapes_of([font.outline("十")], 50, 10, 50), CANVAS)[0]
    plain = plain_pictures([font.raw("十")], SIZE, 5)[0]
    for image in (bent, plain):
        assert image[28:36, 28:36].max() == 255 and (image == 255).sum() > 300
    assert (bent[29:31, 29:31] == 255).all()  # the crossing itself
    assert (plain[31:33, 31:33] == 255).all()


def test_a_half_covered_pixel_is_half_ink_and_y_points_down() -> None:
    points = np.float32([[10, 20], [10, 30.5], [12.5, 30.5], [12.5, 20]])
    image = rasterise(Shapes(points, np.array([0, 4]), np.array([0, 1])), CANVAS)[0]
    assert (image[20:30, 10:12] == 255).all() and image[:20].max() == 0 == image[31:].max()
    assert image[30, 10] == pytest.approx(128, abs=2) and image[25, 12] == pytest.approx(128, abs=2)
    assert image.sum() / 255 == pytest.approx(2.5 * 10.5, rel=0.005)


def test_what_lies_far_outside_neither_fails_nor_shows() -> None:
    points = np.float32([[-1e7, -1e7], [-1e7, -1e6], [-1e6, -1e6], [5, 5], [9, 5], [9, 9]])
    shapes = Shapes(points, np.array([0, 3, 6]), np.array([0, 1, 2]))
    images = rasterise(shapes, CANVAS)
    assert images[0].max() == 0 and images[1].max() == 255


def test_a_batch_is_its_samples() -> None:
    font = open_font(FontFile(ASSETS / "klee-one.woff"))
    outlines = [font.outline(c) for c in "永一國ー"]
    together = rasterise(shapes_of(outlines, EM, 8, 50), CANVAS)
    for outline, image in zip(outlines, together, strict=True):
        assert (rasterise(shapes_of([outline], EM, 8, 50), CANVAS)[0] == image).all()


def drawn_alone(raw: RawOutline, size: int, margin: float) -> np.ndarray:
    """One glyph in its box by the wrapper's own types, number by number, in one piece."""
    low, high = raw.points.min(0), raw.points.max(0)
    scale = 64 * (size - 2 * margin) / max(high - low)
    outline, n, m = ft.FT_Outline(), len(raw.points), len(raw.ends)
    assert not ft.FT_Outline_New(freetype.get_handle(), n, m, ctypes.byref(outline))
    for k, (point, tag) in enumerate(zip(raw.points, raw.tags, strict=True)):
        x, y = (round(v) for v in point * scale + (32 * size - (low + high) / 2 * scale))
        outline.points[k].x, outline.points[k].y, outline.tags[k] = x, y, int(tag)
    for k, end in enumerate(raw.ends):
        outline.contours[k] = int(end)
    out = np.zeros((size, size), np.uint8)
    bitmap = ft.FT_Bitmap(size, size, size, num_grays=256, pixel_mode=ft.FT_PIXEL_MODE_GRAY)
    bitmap.buffer = ctypes.cast(out.ctypes.data, type(bitmap.buffer))
    both = ctypes.byref(outline), ctypes.byref(bitmap)
    assert not ft.FT_Outline_Get_Bitmap(freetype.get_handle(), *both)
    ft.FT_Outline_Done(freetype.get_handle(), both[0])
    return out


@pytest.mark.parametrize("size", [64, 33])
@pytest.mark.parametrize("name", FONTS)
def test_many_glyphs_at_once_are_each_what_freetype_draws(name: str, size: int) -> None:
    font = open_font(FontFile(ASSETS / f"{name}.woff"))
    chars = [c for c in "一永國龍鬱三口心二ARg8" if font.raw(c) is not None]
    together = plain_pictures(font.raws(chars), size, 4.5)
    assert (plain_pictures([font.raw(c) for c in chars], size, 4.5) == together).all()
    off = [
        np.abs(image.astype(int) - drawn_alone(font.raw(c), size, 4.5)).max()
        for c, image in zip(chars, together, strict=True)
    ]
    # in halves, curves that cross the middle are cut into other pieces
    assert max(off) <= 3 and off.count(0) >= len(off) / 2, dict(zip(chars, off, strict=True))


def test_plain_pictures_fill_their_box() -> None:
    font = open_font(FontFile(ASSETS / "zen-kurenaido.woff"))
    chars = "永國一|Ag"
    images = plain_pictures([font.raw(c) for c in chars], SIZE, 4)
    for char, image in zip(chars, images, strict=True):
        rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
        extent = [int(np.ptp(v)) + 1 for v in (rows, columns)]
        assert max(extent) in (55, 56, 57), char
        assert rows[0] + rows[-1] == pytest.approx(SIZE - 1, abs=2)
        assert columns[0] + columns[-1] == pytest.approx(SIZE - 1, abs=2)
    assert plain_pictures([], SIZE, 4).shape == (0, SIZE, SIZE)


@pytest.mark.parametrize("name, chars", [("klee-one", "垠妃尿込"), ("zen-kurenaido", "仮伴哈妊")])
def test_a_glyph_is_drawn_alike_whatever_stands_beside_it(name: str, chars: str) -> None:
    """These are so dense that a few more pixels of edge would have them drawn in halves, where
    curves are cut into other pieces: the way to the next glyph must not count."""
    font = open_font(FontFile(ASSETS / f"{name}.woff"))
    for char in chars:
        [alone] = plain_pictures(font.raws([char]), SIZE, 4.5)
        for beside in f"一L鬱{chars}":
            images = plain_pictures(font.raws([char, beside, char]), SIZE, 4.5)
            assert (images[[0, 2]] == alone).all(), (char, beside)


@pytest.mark.parametrize("chars, dense", [("鬱龘", True), ("一口", False)])
def test_a_far_off_neighbour_makes_no_glyph_dense(chars: str, dense: bool) -> None:
    font = open_font(FontFile(ASSETS / "inkfill-sub-a.woff"))
    for char in chars:
        points = font.outline(char).points * EM * 64.0
        far = points + 64 * 480
        n = np.array([len(points)] * 3)
        for there in (far, points, -far):
            batch = np.concatenate([points, there, points])
            assert (_crowded(batch, n.cumsum() - n, n) == dense).all()


def test_the_largest_canvas_loses_nothing_at_its_edges() -> None:
    """Points were held within 500 px: of 512 the right and the top were squashed."""
    canvas = Canvas(512, 5)
    corners = np.array([[5, 5], [507, 5], [507, 507], [5, 507]], float)
    shapes = Shapes(corners.astype(np.float32), np.array([0, 4]), np.array([0, 1]))
    (image,) = rasterise(shapes, canvas)
    rows, columns = np.nonzero(image)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 506, 5, 506)
    assert (image[5:507, 5:507] == 255).all()
