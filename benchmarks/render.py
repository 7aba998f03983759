"""Images a second of the renderer and of others, interleaved in one run.

Single core: CPU seconds. Several processes: wall seconds of a whole plan, which is not stored. The
limits are those that the project set itself; where one is missed the exit code is 1. What is timed
twice (A/A: ours, and one process) must come out within 5 %, else the exit code is 2: the machine is
too busy for the ratios to mean anything.

The two peers need environments of their own, since they want older Pillow and NumPy:
  python -m venv trdg && trdg/bin/pip install trdg==1.8.0 "pillow<10" "numpy<2"
  python -m venv tiger && tiger/bin/pip install synthtiger==1.2.1 "pillow<10" "numpy<1.24"
  python benchmarks/render.py --trdg trdg/bin/python --synthtiger tiger/bin/python
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from synth import fonts
from synth.canvas import Canvas, ink_of, place
from synth.command import parser, run
from synth.errors import InputError
from synth.fonts import ASSETS, FontFile, find_fonts, open_font
from synth.memory import keep_freed_memory
from synth.plan import Plan, make_plan
from synth.quota import Quota
from synth.raster import plain_pictures
from synth.render import render, render_range
from synth.style import Style

SIZE_PX = 64
CHARS = "永國銀金龍風我的三心書車壹貳參肆伍陸捌玖拾佰仟萬億元角分整年月日號碼章"
MANY = "".join(map(chr, range(0x5000, 0x5200)))  # an alphabet: few images use a glyph twice
FONT = FontFile(ASSETS / "klee-one.woff")
SAME = 0.05  # A/A: two measurements of one thing may differ by this
TIMES_FASTER = {2: 1.85}  # processes -> the limit; of other numbers it is only told
Timed = Callable[[int], float]  # images -> seconds


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python benchmarks/render.py --rounds 7")
    p.add_argument("--rounds", type=int, default=7, help="of all contestants in turn, from 5")
    p.add_argument("--seconds", type=float, default=1.0, help="about so long a contestant a round")
    p.add_argument("--trdg", type=Path | None, help="python of TextRecognitionDataGenerator's")
    p.add_argument("--synthtiger", type=Path | None, help="python of SynthTIGER's environment")
    p.add_argument("--store-images", type=int, default=60_000, help="for one process and several")
    p.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[2],
        help="each is compared with one process; more than there are cores are told, not judged",
    )
    return p


def cpu(work: Callable[[int], Any]) -> Timed:
    def timed(images: int) -> float:
        started = time.process_time()
        work(images)
        return time.process_time() - started

    return timed


def ours_plain(images: int) -> None:
    """Outlines from the font file's tables and pixels; nothing is cached between glyphs."""
    font = open_font(FONT)
    for i in range(0, images, 256):
        chars = [CHARS[k % len(CHARS)] for k in range(i, min(i + 256, images))]
        plain_pictures(font.raws(chars), SIZE_PX, 5)


def pillow_plain() -> Callable[[int], None]:
    from PIL import ImageFont

    font = ImageFont.truetype(FONT.path, SIZE_PX - 10, layout_engine=ImageFont.Layout.BASIC)

    def work(images: int) -> None:
        for k in range(images):
            font.getmask(CHARS[k % len(CHARS)])

    return work


def freetype_plain() -> Callable[[int], None]:
    """Nothing but FreeType's own calls: load an unhinted outline, draw it into one buffer."""
    import freetype
    import freetype.raw as ft

    face = freetype.Face(str(FONT.path))
    face.set_pixel_sizes(0, SIZE_PX - 10)
    gids = [face.get_char_index(c) for c in CHARS]
    pixels = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    bitmap = ft.FT_Bitmap()
    bitmap.rows = bitmap.width = bitmap.pitch = SIZE_PX
    bitmap.num_grays, bitmap.pixel_mode = 256, ft.FT_PIXEL_MODE_GRAY
    bitmap.buffer = ctypes.cast(pixels.ctypes.data, type(bitmap.buffer))
    flags = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP
    library, target = freetype.get_handle(), ctypes.byref(bitmap)

    def work(images: int) -> None:
        for k in range(images):
            ft.FT_Load_Glyph(face._FT_Face, gids[k % len(gids)], flags)
            pixels.fill(0)
            outline = ctypes.byref(face._FT_Face.contents.glyph.contents.outline)
            ft.FT_Outline_Translate(outline, 5 * 64, 12 * 64)  # all of it inside
            if ft.FT_Outline_Get_Bitmap(library, outline, target):
                raise RuntimeError(f"FreeType could not draw glyph {k}")

    return work


def sample_plan(per_char: int, style: Style, chars: str = CHARS) -> Plan:
    from synth.alphabet import Alphabet

    alphabet = Alphabet.of(chars)
    found = [open_font(f).coverage(chars) for f in find_fonts()]
    found = [c for c in found if c.usable]
    quota = Quota(0, dict.fromkeys(chars, per_char), 0, {})
    return make_plan(alphabet, found, {}, quota, style, Canvas(SIZE_PX), 1)


def ours_full(style: Style) -> Callable[[int], None]:
    plan = sample_plan(400, style)

    def work(images: int) -> None:
        for i in range(0, images, 256):
            first = i % (len(plan) - 256)
            render_range(plan, first, first + min(256, images - i))

    work(len(CHARS) * 12)  # outlines are kept; fonts were read
    return work


def ours_cold() -> Callable[[int], None]:
    """The same, but no outline is kept: each is read and cut into points anew."""
    plan = sample_plan(400, Style())

    def work(images: int) -> None:
        for i in range(0, images, 64):
            fonts._outlines.clear()
            first = i % (len(plan) - 64)
            render_range(plan, first, first + min(64, images - i))

    return work


def albumentations_full(imported: float) -> Callable[[int], None]:
    """The same effects on pixels: slant, turn, aspect, bending, pen, grain, blur, noise, JPEG.

    `imported`: the share of the images that is scanned at another resolution, with shaded paper,
    half of it as JPEG, and goes through the import.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    cv2.setNumThreads(1)
    font = ImageFont.truetype(FONT.path, SIZE_PX - 10, layout_engine=ImageFont.Layout.BASIC)
    effects = A.Compose(
        [
            A.Affine(shear={"x": (-15, 15)}, rotate=(-7, 7), scale={"x": (0.8, 1.2), "y": 1.0}),
            A.ElasticTransform(alpha=25, sigma=6, p=1),
            A.ElasticTransform(alpha=4, sigma=2, p=1),
            A.Morphological(scale=(2, 3), operation="dilation", p=0.5),
            A.MultiplicativeNoise(multiplier=(0.6, 1.0), elementwise=True, p=1),
            A.GaussianBlur(blur_limit=3, sigma_limit=(0.3, 0.8), p=1),
            A.GaussNoise(std_range=(0.0, 0.03), p=1),
        ]
    )
    box = SIZE_PX - 10  # the writing; a scan of ours has it at 34 to 92 px
    scan = A.Compose(
        [
            A.RandomScale(scale_limit=(34 / box - 1, 92 / box - 1), p=1),
            A.Illumination(mode="linear", intensity_range=(0.01, 0.12), p=1),
            A.ImageCompression(quality_range=(45, 95), p=0.5),
        ]
    )
    canvas = Canvas(SIZE_PX)

    def work(images: int) -> None:
        for k in range(images):
            page = Image.new("L", (SIZE_PX, SIZE_PX))
            ImageDraw.Draw(page).text((5, 2), CHARS[k % len(CHARS)], font=font, fill=255)
            written = effects(image=np.asarray(page))["image"]
            if (k * imported) % 1 + imported >= 1:
                place(ink_of(scan(image=255 - written)["image"]), canvas)

    return work


class Peer:
    """A generator in another environment, which answers over a pipe."""

    def __init__(self, python: Path, script: str) -> None:
        path = Path(__file__).parent / "render_peers" / script
        self._process = subprocess.Popen(
            [python, path, FONT.path, CHARS, str(SIZE_PX)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = self._answer()

    def __call__(self, images: int) -> float:
        self._process.stdin.write(f"{images}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            raise InputError(f"{self._process.args[1].name} ended; its message stands above")
        return line

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)


def rates(contestants: dict[str, Timed], rounds: int, seconds: float) -> dict[str, np.ndarray]:
    """Images a second of each, [rounds]; in turn, in an order drawn anew each round by a fixed
    seed: none runs behind the same one again and again."""
    size = {}
    for name, timed in contestants.items():
        timed(20)
        size[name] = max(20, int(200 * seconds / max(timed(200), 1e-4)))
    found: dict[str, list[float]] = {name: [] for name in contestants}
    rng = random.Random(1)
    for _ in range(rounds):
        for name in rng.sample(list(contestants), len(contestants)):
            found[name].append(size[name] / contestants[name](size[name]))
    return {name: np.array(v) for name, v in found.items()}


def report(found: dict[str, np.ndarray], goals: list[tuple[str, str, float]]) -> bool:
    """Prints the rates, and their ratios against what is wanted. -> whether all are reached."""
    for name, r in found.items():
        print(f"  {name:32} {np.median(r):10,.0f} /s  ({r.min():,.0f} to {r.max():,.0f})")
    # a list: every one is printed
    return all([reached(f"{a} / {b}", found[a] / found[b], goal) for a, b, goal in goals])


def reached(name: str, ratios: np.ndarray, goal: float | None) -> bool:
    """Prints the median of [rounds] ratios. -> whether it is `goal` at least; None: none is set."""
    median = float(np.median(ratios))
    good = goal is None or median >= goal
    print(
        f"  {name}: {median:.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        + ("" if goal is None else f", wanted {goal:g}")
        + ("" if good else "  MISSED")
    )
    return good


def check_same(one: np.ndarray, two: np.ndarray) -> bool:
    """Rates or seconds [rounds] of one thing measured twice. -> whether they are alike enough."""
    off = abs(float(np.median(one / two)) - 1)
    good = off <= SAME
    verdict = "good" if good else "FAILED: the machine is too busy, the ratios mean nothing"
    print(f"  A/A: {100 * off:.1f} % apart, {verdict}")
    return good


def several_processes(images: int, rounds: int, processes: Sequence[int]) -> tuple[bool, bool]:
    """Times the same plan in one process, in each number of `processes`, and in one again, every
    other round the other way round; fonts and outlines are read anew each time, as a command does.
    -> whether one is like itself (A/A), and whether the others are as much faster as is wanted."""
    plan = sample_plan(-(-images // len(MANY)), Style(), MANY)
    turns = (1, *processes, 1)
    took: list[list[float]] = [[] for _ in turns]
    for k in range(rounds):
        for i in range(len(turns))[:: 1 if k % 2 == 0 else -1]:
            fonts._outlines.clear()
            open_font.cache_clear()
            started = time.perf_counter()
            for _ in render(plan, turns[i]):
                pass
            took[i].append(time.perf_counter() - started)
    one, *others, again = map(np.array, took)
    cores = len(os.sched_getaffinity(0))
    found = dict(zip(processes, others, strict=True))
    return check_same(one, again), faster(len(plan), (one + again) / 2, found, cores)


def faster(images: int, one: np.ndarray, others: dict[int, np.ndarray], cores: int) -> bool:
    """Seconds [rounds] of one process, and of each other number of them. Prints and judges them."""
    print(f"  {images:,} images, one process: {np.median(one):.1f} s")
    for n, seconds in others.items():
        print(f"  {images:,} images, {n} processes: {np.median(seconds):.1f} s")
    limits = {n: limit for n, limit in TIMES_FASTER.items() if n <= cores}
    # a list: every one is printed
    return all([reached(f"{n} processes / one", one / s, limits.get(n)) for n, s in others.items()])


def main(args: Namespace) -> None:
    if args.rounds < 5:
        raise InputError("--rounds: from 5")
    if min(args.processes) < 2:
        raise InputError("--processes: numbers from 2")
    names = ("pillow", "freetype-py", "numpy", "albumentations")
    print(
        f"{platform.platform()}, Python {sys.version.split()[0]}, "
        + ", ".join(f"{n} {version(n)}" for n in names)
    )
    keep_freed_memory()  # as render does
    print(f"{args.rounds} rounds, one core, CPU time; {SIZE_PX} px")
    plain = {
        "ours, plain": cpu(ours_plain),
        "ours, plain again": cpu(ours_plain),
        "Pillow getmask": cpu(pillow_plain()),
        "FreeType alone": cpu(freetype_plain()),
    }
    print("plain glyphs")
    found = rates(plain, args.rounds, args.seconds)
    same = [check_same(found["ours, plain"], found["ours, plain again"])]
    goals = [("ours, plain", "Pillow getmask", 5.0), ("ours, plain", "FreeType alone", 0.5)]
    good = [report(found, goals)]

    # The import of `synth.canvas` costs either side the same: both pay it for the same share
    usual = Style()
    share = 1 - (1 - usual.scan) * (1 - usual.clutter)
    full_work = ours_full(usual)
    full: dict[str, Timed] = {
        "ours, full": cpu(full_work),
        "ours, full again": cpu(full_work),
        "ours, full, nothing kept": cpu(ours_cold()),
        "Pillow + albumentations": cpu(albumentations_full(share)),
        "ours, none imported": cpu(ours_full(replace(usual, scan=0.0, clutter=0.0))),
        "albumentations, none imported": cpu(albumentations_full(0.0)),
        "ours, all imported": cpu(ours_full(replace(usual, scan=1.0))),
        "albumentations, all imported": cpu(albumentations_full(1.0)),
    }
    goals = [
        ("ours, full", "Pillow + albumentations", 5.0),
        ("ours, none imported", "albumentations, none imported", 5.0),
        ("ours, all imported", "albumentations, all imported", 5.0),
    ]
    peers = []
    scripts = ((args.trdg, "trdg_peer.py", 20.0), (args.synthtiger, "synthtiger_peer.py", 1.0))
    for python, script, goal in scripts:
        if python:
            peers.append(Peer(python, script))
            full[peers[-1].name] = peers[-1]
            goals.append(("ours, full", peers[-1].name, goal))
        else:
            print(f"{script}: left out, nothing is said of its goal (see --help)")
    print("full samples: deformation, ink, paper")
    found = rates(full, args.rounds, args.seconds)
    for peer in peers:
        peer.close()
    same.append(check_same(found["ours, full"], found["ours, full again"]))
    good.append(report(found, goals))

    print(f"processes, wall time, {len(os.sched_getaffinity(0))} cores")
    alike, fast = several_processes(args.store_images, args.rounds, sorted(set(args.processes)))
    if not all([*same, alike]):
        raise SystemExit(2)
    if not all([*good, fast]):
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
