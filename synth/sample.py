"""A simulated data set for the demo and the tests, in the shape of the real problem.

It is made from the fonts set aside as writers, which the renderer never draws with: bent far more
than the renderer bends, then photographed or scanned: paper, light, printed rules, blur, JPEG.
There are common, rare and few characters, "other" ones (most of them only in test), and wrong
labels in train. Nothing of it is real handwriting, and it is called simulated wherever it shows.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from synth import chance, handwriting
from synth.alphabet import OTHER
from synth.canvas import Canvas
from synth.fonts import FontFile, find_fonts, open_font, planned_outlines
from synth.handwriting import Style
from synth.raster import rasterise
from synth.store import refuse_existing

# Traditional and Simplified characters that the writers' and the renderer's fonts have.
KNOWN = "大金行國銀元年月日中人东萬票存款号書車车壹伍陸柒捌拾"
OTHERS = "木本未王玉主太天夫土犬士干于牛午甲由申目自白百田旦且已己銅鐵"
GROUPS = (  # name, characters, training and test images of each
    ("common", 12, 70, 12),
    ("rare", 8, 15, 12),
    ("few", 6, 4, 12),
    ("other_seen", 10, 3, 6),
    ("other_unseen", 20, 0, 6),
)
LABEL_NOISE = 0.11  # of the training labels
STRENGTH = 1.5  # of the deformation, as in `Style.scaled`
TRAIN_WRITERS, TEST_WRITERS = range(60), range(1000, 1030)
_GROUPS, _WRITER, _LABEL, _NAME, _FONT, _HAND, _PAPER, _NOISE = range(51, 59)
_CANVAS = Canvas(size_px=112, margin_px=10)  # pens are given for a box of 54 px


@dataclass(frozen=True)
class Row:
    """One image and its line in truth.csv."""

    path: str  # <split>/<given>/<name>
    char: str  # what it shows
    label: str  # the right label
    given: str  # the label it is filed under
    group: str
    writer: int


def plan(seed: int) -> list[Row]:
    """Every image. Pure."""
    groups: list[tuple[str, str, int, int]] = []
    for chars, names in ((KNOWN, GROUPS[:3]), (OTHERS, GROUPS[3:])):
        u = chance.uniform(seed, _GROUPS, np.array([ord(c) for c in chars]), 1)[:, 0]
        dealt = [chars[i] for i in np.argsort(u)]
        for name, count, train, test in names:
            groups += [(char, name, train, test) for char in dealt[:count]]
            dealt = dealt[count:]
    rows: list[Row] = []
    alphabet = sorted(KNOWN)
    for char, group, train, test in sorted(groups):
        for split, count, writers in (
            ("train", train, TRAIN_WRITERS),
            ("test", test, TEST_WRITERS),
        ):
            for _ in range(count):
                at = np.array([len(rows)])
                wrong, which, hand, tail = chance.uniform(seed, _LABEL, at, 4)[0]
                label = OTHER if group.startswith("other") else char
                wrongs = [c for c in alphabet if c != char]
                is_wrong = split == "train" and wrong < LABEL_NOISE
                given = wrongs[int(which * len(wrongs))] if is_wrong else label
                name = int(chance.bits(seed, _NAME, at, 1)[0, 0])  # gives no label away
                suffix = "jpg" if tail < 0.5 else "png"
                writer = writers[int(hand * len(writers))]
                path = f"{split}/{given}/{name:016x}.{suffix}"
                rows.append(Row(path, char, label, given, group, writer))
    return rows


def write_sample(out: Path, seed: int) -> list[Row]:
    """Makes the folder: train/, test/, alphabet.txt, truth.csv, README.txt. It must not exist."""
    refuse_existing(out)
    rows = plan(seed)
    part = out.with_name(f".{out.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for start in range(0, len(rows), 128):
            at = np.arange(start, min(start + 128, len(rows)))
            for i, ink in zip(at.tolist(), _written(rows, at, seed), strict=True):
                path = part / rows[i].path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_filed(photographed(ink, rows[i].writer, i, seed), i, path, seed))
        (part / "alphabet.txt").write_text("".join(f"{c}\n" for c in sorted(KNOWN)), "utf-8")
        with (part / "truth.csv").open("w", newline="", encoding="utf-8") as f:
            table = csv.writer(f)
            table.writerow(("path", "char", "label", "given", "group"))
            table.writerows((r.path, r.char, r.label, r.given, r.group) for r in rows)
        (part / "README.txt").write_text(_readme(rows, seed), "utf-8")
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return rows


def _readme(rows: Sequence[Row], seed: int) -> str:
    counts = Counter((r.path.split("/")[0], r.group) for r in rows)
    table = "\n".join(
        f"  {name:13} {chars:3} characters, {counts['train', name]:4} images in train, "
        f"{counts['test', name]:4} in test"
        for name, chars, _, _ in GROUPS
    )
    wrong = sum(r.given != r.label for r in rows)
    fonts = ", ".join(f.name for f in find_fonts(writers=True))
    return (
        f"SIMULATED data, seed {seed}: no image in this folder is real handwriting.\n\n"
        f"Drawn by scripts/make_sample.py with fonts that the renderer never uses:\n{fonts}.\n"
        "Train and test are different simulated hands with the same fonts.\n"
        f"{wrong} training labels are wrong.\n\n"
        f"{table}\n\n"
        "alphabet.txt: the known characters. truth.csv: what each file shows and its right label.\n"
    )


def _fonts_of(char: str, fonts: Sequence[FontFile]) -> list[FontFile]:
    return [f for f in fonts if char in open_font(f).coverage([char]).usable]


def _written(rows: Sequence[Row], at: np.ndarray, seed: int) -> np.ndarray:
    """[n] rows -> [n, H, W] uint8 ink. A writer keeps to one font of those that have it."""
    style = Style().scaled(STRENGTH)
    style = replace(style, stroke_px=tuple(w * _CANVAS.zoom for w in style.stroke_px))
    fonts = find_fonts(writers=True)
    glyphs = []
    for i in at.tolist():
        able = _fonts_of(rows[i].char, fonts)
        u = chance.uniform(seed, _FONT, np.array([rows[i].writer]), 1)[0, 0]
        glyphs.append((open_font(able[int(u * len(able))]), rows[i].char))
    writers = np.array([rows[i].writer for i in at.tolist()])
    draws = handwriting.draw(style, seed, at, writers)
    return rasterise(handwriting.apply(planned_outlines(glyphs), draws, _CANVAS), _CANVAS)


def photographed(ink: np.ndarray, writer: int, number: int, seed: int) -> np.ndarray:
    """[H, W] uint8 ink -> [h, w, 3] uint8: a writer's pen and paper, a crop and light. Pure."""
    hand = chance.uniform(seed, _HAND, np.array([writer]), 12)[0]
    u = chance.uniform(seed, _PAPER, np.array([number]), 24)[0]
    ink = _cropped(ink.astype(np.float32) / 255, u[:5])
    height, width = ink.shape
    rng = np.random.default_rng([seed, number])
    # pressure: the pen writes fainter here and there
    grain = ndimage.gaussian_filter(rng.standard_normal(ink.shape), 2.5 + 5 * hand[0])
    ink = ink * np.clip(0.92 - 0.5 * hand[1] * grain / max(grain.std(), 1e-6) * 0.4, 0.35, 1)

    paper = np.array([250, 248, 242]) - hand[2] * np.array([45, 55, 85]) * (hand[3] < 0.6)
    pens = np.array([[28, 28, 32], [30, 45, 125], [60, 60, 66], [20, 20, 20]])
    pen = pens[int(hand[4] * len(pens))] + 30 * (u[5] - 0.5)
    image = np.broadcast_to(paper, (height, width, 3)).astype(np.float32).copy()
    _rule(image, hand, u[6:12])
    image += ink[:, :, None] * (pen - image)

    if hand[5] < 0.5:  # a phone: light from one side, warm or cold, soft focus
        angle = 2 * np.pi * u[12]
        y, x = np.mgrid[0:height, 0:width] / max(height, width) - 0.5
        light = 1 + (0.10 + 0.35 * u[13]) * (np.cos(angle) * x + np.sin(angle) * y)
        cast = 1 + 0.10 * (u[14] - 0.5) * np.array([1, 0, -1])
        image *= (0.72 + 0.25 * u[15]) * light[:, :, None] * cast
        image = ndimage.gaussian_filter(image, (0.4 + 0.9 * u[16],) * 2 + (0,))
    else:  # a scanner: even light, sharp
        image = ndimage.gaussian_filter(image, (0.2 + 0.4 * u[16],) * 2 + (0,))
    image += rng.standard_normal(image.shape) * (1.5 + 7 * u[17])
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _cropped(ink: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The writing somewhere on a crop of any size: 44 to 150 px, seldom square."""
    top, left = np.array([ink.any(axis=1).argmax(), ink.any(axis=0).argmax()])
    bottom = len(ink) - ink[::-1].any(axis=1).argmax()
    right = ink.shape[1] - ink[:, ::-1].any(axis=0).argmax()
    margin = (5 + 22 * u[0:4]).astype(int)
    part = np.pad(
        ink[top:bottom, left:right], [(margin[0], margin[1]), (margin[2], margin[3])], "constant"
    )
    size = 44 + 106 * u[4]
    scale = size / max(part.shape)
    shape = (max(16, round(part.shape[1] * scale)), max(16, round(part.shape[0] * scale)))
    return np.asarray(Image.fromarray(part).resize(shape, Image.Resampling.BOX if scale < 1 else 2))


def _rule(image: np.ndarray, hand: np.ndarray, u: np.ndarray) -> None:
    """A form's printed cell, red, blue or gray, near the edges of the crop. Changes the image."""
    if hand[6] < 0.45:
        return
    colours = np.array([[225, 130, 120], [125, 165, 225], [175, 178, 175]])
    colour = colours[int(hand[7] * 3)]
    height, width = image.shape[:2]
    thick = 1 + int(max(height, width) > 90)
    for side in range(4):
        if u[side] < 0.5:
            off = int(u[4] * 3)
            edges: list[slice | tuple[slice, slice]] = [
                np.s_[off : off + thick],
                np.s_[height - off - thick : height - off],
                np.s_[:, off : off + thick],
                np.s_[:, width - off - thick : width - off],
            ]
            where = edges[side]
            image[where] = 0.25 * image[where] + 0.75 * colour


def _filed(image: np.ndarray, number: int, path: Path, seed: int) -> bytes:
    """[h, w, 3] uint8 -> the file's bytes: PNG, or JPEG of a quality from 40 to 90."""
    buffer = io.BytesIO()
    if path.suffix == ".png":
        Image.fromarray(image).save(buffer, "PNG")
    else:
        u = chance.uniform(seed, _NOISE, np.array([number]), 1)[0, 0]
        Image.fromarray(image).save(buffer, "JPEG", quality=int(40 + 50 * u))
    return buffer.getvalue()
