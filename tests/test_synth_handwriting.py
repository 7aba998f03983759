"""Bending: records that say all, geometry that does what its numbers say, nothing else touched."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from test_synth_fonts import box, build_font, hole
from test_synth_raster import psnr

from synth import handwriting, raster
from synth.canvas import Canvas
from synth.fit import stroke_width_px
from synth.fonts import ASSETS, Font, FontFile, open_font
from synth.handwriting import apply
from synth.outlines import Outline
from synth.raster import rasterise
from synth.style import Draw, Style, draw

CANVAS = Canvas()
NEUTRAL = Draw(**dict.fromkeys((f.name for f in fields(Draw)), 0.0) | {"field": 3, "clutter": -1.0})
FONTS = ["klee-one", "kouzan-brush", "long-cang", "zen-kurenaido"]
CHARS = "永國一三口心龍風的我"


def own_pen(outline: Outline) -> float:
    """The stroke width in px that a glyph has by itself on the canvas."""
    return outline.stroke_em * CANVAS.box_px / np.ptp(outline.points, axis=0).max()


def outlines_of(name: str, chars: str = CHARS) -> list[Outline]:
    font = open_font(FontFile(ASSETS / f"{name}.woff"))
    return [o for c in chars if (o := font.outline(c)) is not None]


def drawn_by_freetype(font: Font, char: str) -> np.ndarray:
    """The glyph's own curves, its ink filling the canvas's box."""
    points = open_font(font.file).outline(char).points
    low, high = points.min(0), points.max(0)
    scale = CANVAS.box_px / (high - low).max()
    raw = font.raw(char)
    em = raw.points / font._face.units_per_EM * [1, -1]
    x, y = ((em - (low + high) / 2) * scale + CANVAS.size_px / 2).T
    points = 64 * np.stack([x, CANVAS.size_px - y], 1)
    n_points, n_contours = np.array([len(points)]), np.array([len(raw.ends)])
    return raster._fill(points, raw.tags, raw.ends, n_points, n_contours, CANVAS.size_px)[0]


def ink_of(outline: Outline, record: Draw) -> np.ndarray:
    return rasterise(apply([outline], [record], CANVAS), CANVAS)[0]


@pytest.fixture(params=[False, True], ids=["TrueType", "CFF"])
def cff(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_a_record_survives_json_exactly() -> None:
    records = draw(Style(), 5, np.arange(300), np.arange(300) % 7)
    for record in records:
        text = record.to_json()
        assert Draw.from_json(text) == record and Draw.from_json(text).to_json() == text
        assert len(text) < 240
    assert all(isinstance(r.field, int) for r in records)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "null", "not json", '{"slant": 1}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Draw.from_json(text)


def test_brackets_without_end_are_no_record() -> None:
    with pytest.raises(ValueError, match="not a draw record"):
        Draw.from_json("[" * 100_000)


@pytest.mark.parametrize(
    "value", ['"0"', "true", "null", "[]", "NaN", "Infinity", "1e400", "1" * 30]
)
@pytest.mark.parametrize("name", ["slant", "field", "jpeg", "beside"])
def test_a_record_with_another_kind_of_value_is_refused(name: str, value: str) -> None:
    [record] = draw(Style(), 5, np.arange(1), np.arange(1))
    values = json.loads(replace(record, beside="klee-one:永").to_json())
    at = [f.name for f in fields(Draw)].index(name)
    if name == "beside" and value == '"0"':
        value = "0"
    words = [json.dumps(v) for v in values]
    assert Draw.from_json(f"[{', '.join(words)}]").beside == "klee-one:永"
    words[at] = value
    with pytest.raises(ValueError, match="not a draw record"):
        Draw.from_json(f"[{', '.join(words)}]")


def test_draw_depends_on_seed_index_and_writer_alone() -> None:
    index, writer = np.arange(50), np.arange(50) % 5
    records = draw(Style(), 9, index, writer)
    assert draw(Style(), 9, index[::-1], writer[::-1]) == records[::-1]
    assert draw(Style(), 9, index[7:9], writer[7:9]) == records[7:9]
    assert draw(Style(), 10, index, writer) != records
    assert len({r.field for r in records}) == 50


def test_apply_is_pure_and_a_batch_is_its_samples() -> None:
    outlines = outlines_of("klee-one")
    before = [o.points.copy() for o in outlines]
    records = draw(Style(), 1, np.arange(len(outlines)), np.zeros(len(outlines), int))
    first = rasterise(apply(outlines, records, CANVAS), CANVAS)
    again = rasterise(apply(outlines, records, CANVAS), CANVAS)
    assert (first == again).all()
    assert all((o.points == b).all() for o, b in zip(outlines, before, strict=True))
    for outline, record, image in zip(outlines, records, first, strict=True):
        assert (ink_of(outline, record) == image).all()
        assert (ink_of(outline, Draw.from_json(record.to_json())) == image).all()


@pytest.mark.parametrize("name", FONTS)
def test_no_strength_and_the_glyphs_own_pen_is_the_plain_glyph(name: str) -> None:
    font = open_font(FontFile(ASSETS / f"{name}.woff"))
    chars = [c for c in CHARS if font.outline(c) is not None]
    plain = [drawn_by_freetype(font, c) for c in chars]
    records = draw(Style().scaled(0), 1, np.arange(len(chars)), np.arange(len(chars)))
    for char, record, expected in zip(chars, records, plain, strict=True):
        outline = font.outline(char)
        shape = asdict(record)
        names = [f.name for f in fields(Draw)]
        bent = [*names[: names.index("stroke_px")], *names[names.index("climb") :][:5]]
        assert not any(shape[k] for k in bent)
        image = ink_of(outline, replace(record, stroke_px=own_pen(outline)))
        assert psnr(image, expected) > 32, char


@pytest.mark.parametrize("wanted", [2.0, 3.0, 4.0, 5.0])
def test_the_pen_makes_strokes_as_wide_as_it_says(tmp_path: Path, cff: bool, wanted: float) -> None:
    """Measured across the bars of a cross of 3.4 px, for both senses of contours."""
    cross = [box(370, 0, 430, 1000), box(0, 500, 369, 560), box(431, 500, 1000, 560)]
    outline = open_font(build_font(tmp_path / "c.otf", {"十": cross}, cff=cff)).outline("十")
    bar = ink_of(outline, replace(NEUTRAL, stroke_px=wanted)).astype(float) / 255
    there = own_pen(outline)
    # `stroke_em` of short bars is a little less than their width: the offset is what counts
    offset = (np.clip((wanted - there) / 2, -0.2 * there, 1.6)) * 2
    natural = 0.06 * (CANVAS.box_px - offset)
    across = bar[12:20].sum(1).mean()
    assert across == pytest.approx(natural + offset, abs=0.15)


@pytest.mark.parametrize("name", FONTS)
def test_a_wider_pen_gives_wider_strokes_in_every_font(name: str) -> None:
    outlines = outlines_of(name)
    widths = []
    for pen in (2.0, 3.0, 4.0, 5.0):
        records = [replace(NEUTRAL, stroke_px=pen)] * len(outlines)
        widths.append(stroke_width_px(rasterise(apply(outlines, records, CANVAS), CANVAS)))
    steps = np.diff(widths, axis=0)
    assert (steps > -0.05).all() and (np.sum(steps, 0) > 0.5).all()


@pytest.mark.parametrize("angle", [-0.4, -0.15, 0.0, 0.15, 0.4])
def test_slant_leans_a_vertical_bar_by_its_angle(tmp_path: Path, cff: bool, angle: float) -> None:
    bar = [box(0, 0, 60, 900)]
    outline = open_font(build_font(tmp_path / "bar.otf", {"|": bar}, cff=cff)).outline("|")
    image = ink_of(outline, replace(NEUTRAL, slant=angle, stroke_px=own_pen(outline))).astype(float)
    rows = np.arange(12, 52)
    middle = (image[rows] * np.arange(64)).sum(1) / image[rows].sum(1)
    slope = np.polyfit(rows, middle, 1)[0]  # px right for a px down
    assert np.arctan(-slope) == pytest.approx(angle, abs=0.02)  # to the right at the top


@pytest.mark.parametrize("angle", [-0.3, 0.2])
def test_rotation_turns_clockwise_by_its_angle(tmp_path: Path, angle: float) -> None:
    outline = open_font(build_font(tmp_path / "b.ttf", {"一": [box(0, 0, 900, 60)]})).outline("一")
    record = replace(NEUTRAL, rotation=angle, stroke_px=own_pen(outline))
    image = ink_of(outline, record).astype(float)
    columns = np.arange(12, 52)
    middle = (image[:, columns] * np.arange(64)[:, None]).sum(0) / image[:, columns].sum(0)
    assert np.arctan(np.polyfit(columns, middle, 1)[0]) == pytest.approx(angle, abs=0.02)


def test_aspect_changes_width_by_height_and_keeps_the_area(tmp_path: Path) -> None:
    square = [box(0, 0, 500, 500)]
    outline = open_font(build_font(tmp_path / "s.ttf", {"■": square})).outline("■")
    pen = own_pen(outline) / np.exp(0.25)  # the longer side grows by that before it fills the box
    record = replace(NEUTRAL, aspect_log=0.5, stroke_px=pen)
    x, y = apply([outline], [record], CANVAS).points.T
    assert np.ptp(x) / np.ptp(y) == pytest.approx(np.exp(0.5), rel=0.01)


@pytest.mark.parametrize("name", FONTS)
def test_ink_stays_in_the_box_and_numbers_stay_finite(name: str) -> None:
    outlines = outlines_of(name) * 20
    index = np.arange(len(outlines))
    wild = replace(Style().scaled(2.0), stroke_px=(0.5, 12.0))
    shapes = apply(outlines, draw(wild, 2, index, index), CANVAS)
    assert np.isfinite(shapes.points).all()
    low, high = CANVAS.margin_px, CANVAS.size_px - CANVAS.margin_px
    assert shapes.points.min() > low - 1e-3 and shapes.points.max() < high + 1e-3
    images = rasterise(shapes, CANVAS)
    assert not images[:, :low].any() and not images[:, high:].any()
    assert not images[:, :, :low].any() and not images[:, :, high:].any()
    for image in images:  # and fills it: the longer side of the ink is the box
        rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) >= CANVAS.box_px - 2


def test_components_move_by_themselves_and_a_hole_with_its_outside(tmp_path: Path) -> None:
    ring = [box(0, 300, 400, 700), hole(60, 360, 340, 640)]
    glyph = [*ring, box(600, 0, 700, 1000)]
    outline = open_font(build_font(tmp_path / "r.ttf", {"叩": glyph})).outline("叩")
    gaps, offsets, widths = [], [], []
    for field in range(60):
        record = replace(NEUTRAL, field=field, part_shift_em=0.05, part_turn=0.1)
        record = replace(record, stroke_px=own_pen(outline), part_scale_log=0.05)
        points = apply([outline], [record], CANVAS).points
        outer, inner, bar = (
            points[a:b] for a, b in zip(outline.starts, outline.starts[1:], strict=False)
        )
        gaps.append(bar.mean(0) - outer.mean(0))
        offsets.append(inner.mean(0) - outer.mean(0))
        widths.append(np.hypot(*(outer - outer.mean(0)).T).max())
    assert np.std(gaps, 0).min() > 0.5  # px, both ways
    assert np.abs(offsets).max() < 0.35  # the hole stays in the middle of its ring
    assert np.std(widths) > 0.3


def test_a_glyph_of_one_component_has_nothing_to_move_against(tmp_path: Path) -> None:
    outline = open_font(build_font(tmp_path / "b.ttf", {"一": [box(0, 0, 900, 60)]})).outline("一")
    still = replace(NEUTRAL, stroke_px=own_pen(outline))
    moved = replace(still, part_shift_em=0.1, part_turn=0.3, part_scale_log=0.2)
    assert (ink_of(outline, still) == ink_of(outline, moved)).all()


def test_bending_moves_points_by_its_amplitude_and_smoothly() -> None:
    [outline] = outlines_of("klee-one", "國")
    still = replace(NEUTRAL, stroke_px=own_pen(outline))
    base = apply([outline], [still], CANVAS).points
    scale = CANVAS.box_px / np.ptp(outline.points, axis=0).max()
    moves = []
    for field in range(40):
        bent = apply([outline], [replace(still, bend_em=0.02, field=field)], CANVAS).points
        move = bent - base
        moves.append(np.std(move, 0))
        step = np.hypot(*np.diff(move, axis=0).T)
        near = np.hypot(*np.diff(base, axis=0).T) < 3
        assert step[near].max() < 1.2  # neighbours go together
    # four waves of 0.02 em, half of each along an axis: 0.02 em, less what the fit takes out
    assert 0.25 * 0.02 * scale < np.mean(moves) < 1.2 * 0.02 * scale


def test_characters_of_a_writer_resemble_each_other_more_than_writers() -> None:
    writers, each = 400, 2
    index = np.arange(writers * each)
    style = Style()
    records = draw(style, 4, index, index // each)
    bound = 3 / np.sqrt(writers)
    for name, expected in {
        "slant": 1 - style.own_share,
        "rotation": 1 - style.own_share,
        "aspect_log": 1 - style.own_share,
        "stroke_px": None,
        "blur_px": 1.0,
    }.items():
        values = np.array([getattr(r, name) for r in records]).reshape(writers, each)
        within = np.corrcoef(values[:, 0], values[:, 1])[0, 1]
        between = np.corrcoef(values[:-1, 0], values[1:, 1])[0, 1]
        assert abs(between) < bound + 0.01, name
        assert within > 0.9 if expected is None else abs(within - expected) < bound + 0.01, name


def test_deviations_are_those_of_the_style() -> None:
    index = np.arange(5000)
    style = Style()
    records = draw(style, 8, index, index)
    deviation = {
        "slant": np.radians(style.slant_deg),
        "rotation": np.radians(style.rotation_deg),
        "aspect_log": style.aspect_log,
    }
    for name, expected in deviation.items():
        values = np.array([getattr(r, name) for r in records])
        assert values.std() == pytest.approx(expected, rel=0.04)
        assert abs(values.mean()) < 3 * expected / np.sqrt(5000)
    pens = np.array([r.stroke_px for r in records])
    steps = np.linspace(0, 1, len(style.stroke_px))
    assert np.quantile(pens, steps[1:-1]) == pytest.approx(style.stroke_px[1:-1], abs=0.12)
    cluttered = np.array([r.clutter >= 0 for r in records]).mean()
    assert abs(cluttered - style.clutter) < 3 * np.sqrt(style.clutter / 5000)


def test_scaled_changes_the_shape_alone() -> None:
    style, half = Style(), Style().scaled(0.5)
    changed = {f.name for f in fields(Style) if getattr(style, f.name) != getattr(half, f.name)}
    assert changed == {
        *("slant_deg", "rotation_deg", "aspect_log", "bend_em", "wobble_em"),
        *("part_shift_em", "part_scale_log", "part_turn_deg"),
        *("cluster_shift_em", "cluster_scale_log", "end_em", "pressure"),
    }
    assert half.slant_deg == style.slant_deg / 2
    assert json.loads(json.dumps(asdict(half)))["stroke_px"] == list(style.stroke_px)


def test_normals_point_out_of_the_ink(tmp_path: Path, cff: bool) -> None:
    ring = [box(0, 0, 800, 800), hole(200, 200, 600, 600)]
    outline = open_font(build_font(tmp_path / "o.otf", {"口": ring}, cff=cff)).outline("口")
    packed = handwriting._pack([outline])
    normals = handwriting._normals(packed.points, packed)
    middle = np.float32([0.4, -0.4])
    outwards = ((packed.points - middle) * normals).sum(1)
    outside = np.arange(len(normals)) < outline.starts[1]
    assert (outwards[outside] > 0).all() and (outwards[~outside] < 0).all()


def test_records_of_the_first_version_are_read() -> None:
    old = json.dumps([0.1, 0.0, 0.2, 0.03, 0.005, 0.02, 0.09, 0.05, 3.1, 0.2, 0.3, 0.01, -1.0, 77])
    record = Draw.from_json(old)
    assert (record.slant, record.field, record.climb, record.scan_px) == (0.1, 77, 0.0, 0)


@pytest.mark.parametrize("angle", [-0.2, 0.15])
def test_climb_lifts_levels_and_leaves_uprights(tmp_path: Path, angle: float) -> None:
    cross = [box(370, 0, 430, 1000), box(0, 500, 369, 560), box(431, 500, 1000, 560)]
    outline = open_font(build_font(tmp_path / "c.ttf", {"十": cross})).outline("十")
    record = replace(NEUTRAL, climb=angle, stroke_px=own_pen(outline))
    image = ink_of(outline, record).astype(float)
    right = image[:, 36:58]
    middle = (right * np.arange(64)[:, None]).sum(0) / right.sum(0)
    slope = np.polyfit(np.arange(36, 58), middle, 1)[0]  # px down for a px right
    assert np.arctan(-slope) == pytest.approx(angle, abs=0.03)
    top = image[8:20]
    middle = (top * np.arange(64)).sum(1) / top.sum(1)
    assert abs(np.polyfit(np.arange(8, 20), middle, 1)[0]) < 0.03


def test_clusters_are_what_a_gap_keeps_apart(tmp_path: Path) -> None:
    left = [box(0, 0, 100, 900), box(150, 200, 250, 700)]
    right = [box(600, 500, 1000, 600), box(600, 100, 1000, 200)]
    glyph = {"仁": [*left, *right], "十": [box(0, 400, 900, 500), box(400, 0, 500, 900)]}
    font = open_font(build_font(tmp_path / "r.ttf", glyph))
    a, b, c, d = font.outline("仁").cluster.tolist()
    assert a != c and {a, b} & {c, d} == set()  # the widest gap parts left from right
    assert len(set(font.outline("十").cluster.tolist())) == 1  # they cross: no gap


def test_a_cluster_moves_as_one(tmp_path: Path) -> None:
    left = [box(0, 0, 100, 900), box(50, 200, 300, 280)]  # they cross
    glyph = [*left, box(600, 0, 700, 900)]
    outline = open_font(build_font(tmp_path / "r.ttf", {"川": glyph})).outline("川")
    inside, across = [], []
    for field in range(60):
        record = replace(NEUTRAL, field=field, cluster_shift_em=0.05)
        record = replace(record, stroke_px=own_pen(outline))
        points = apply([outline], [record], CANVAS).points
        a, b, c = (points[i:j].mean(0) for i, j in itertools.pairwise(outline.starts))
        across.append(c - a)
        inside.append(b - a)
    assert np.std(across, 0).max() > 1.0  # px
    assert np.std(inside, 0).max() < 0.4 * np.std(across, 0).max()


def test_ends_are_found_at_the_ends_of_strokes(tmp_path: Path) -> None:
    bar = [box(0, 0, 900, 60)]
    outline = open_font(build_font(tmp_path / "b.ttf", {"一": bar})).outline("一")
    tips = outline.points[outline.ends.weight == 1]
    assert len(tips) and ((tips[:, 0] < 0.1) | (tips[:, 0] > 0.8)).all()
    assert len(set(outline.ends.which[outline.ends.weight == 1].tolist())) == 2
    middle = np.abs(outline.points[:, 0] - 0.45) < 0.2
    assert (outline.ends.weight[middle] == 0).all()
    block = [box(0, 0, 800, 800)]  # corners are no ends
    outline = open_font(build_font(tmp_path / "s.ttf", {"■": block})).outline("■")
    assert not outline.ends.weight.any()


def test_only_ends_move_where_only_ends_shall(tmp_path: Path) -> None:
    hook = [box(0, 0, 900, 60), box(0, 400, 600, 460)]
    outline = open_font(build_font(tmp_path / "b.ttf", {"二": hook})).outline("二")
    moved = handwriting._move_ends([outline], np.array([5]), np.array([0.04]))
    assert (moved[outline.ends.weight == 0] == 0).all()
    assert np.abs(moved[outline.ends.weight == 1]).max() > 0.005
    sizes = []
    for field in range(300):
        moved = handwriting._move_ends([outline], np.array([field]), np.array([0.04]))
        sizes.append(moved[outline.ends.weight == 1].std())
    assert np.mean(sizes) == pytest.approx(0.04, rel=0.3)


def test_pressure_varies_the_width_along_a_stroke(tmp_path: Path) -> None:
    bar = [box(0, 0, 60, 900)]
    outline = open_font(build_font(tmp_path / "b.ttf", {"|": bar})).outline("|")
    still = replace(NEUTRAL, stroke_px=own_pen(outline))
    swings = []
    for field in range(30):
        image = ink_of(outline, replace(still, pressure=0.6, field=field)) / 255.0
        swings.append(np.std(image[14:50].sum(1)))
    assert np.std(ink_of(outline, still)[14:50].sum(1) / 255.0) < 0.05
    assert 0.1 < np.mean(swings) < 0.6 * still.stroke_px


def test_pressure_goes_by_the_pen_that_was_given(tmp_path: Path) -> None:
    """A pen too broad for a crowded glyph is refused; its pressure may not close the gaps."""
    bars = [box(0, 150 * k, 900, 150 * k + 75) for k in range(6)]
    outline = open_font(build_font(tmp_path / "b.ttf", {"三": bars})).outline("三")
    for field in range(20):
        record = replace(NEUTRAL, stroke_px=9.0, pressure=0.6, field=field)
        dark = ink_of(outline, record)[:, 14:50] > 128
        begins = dark & ~np.roll(dark, 1, 0)
        assert (begins.sum(0) == 6).all()


def test_a_crowded_glyph_keeps_its_counters() -> None:
    [outline] = outlines_of("klee-one", "國")
    broad = ink_of(outline, replace(NEUTRAL, stroke_px=9.0))
    assert 0.3 < (broad > 128).sum() / CANVAS.box_px**2 < 0.62
    [plain] = outlines_of("klee-one", "一")
    assert stroke_width_px(ink_of(plain, replace(NEUTRAL, stroke_px=6.0))[None])[0] > 4
