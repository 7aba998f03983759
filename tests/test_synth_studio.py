"""The studio puts a render together: from an alphabet and fonts, or from real data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_synth_fonts import NOTDEF, build_font, letter
from test_synth_likeness import copy_of

from synth import checks, command, other, studio
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.fonts import Coverage, FontFile, characters_of, find_fonts
from synth.render import render_places
from synth.sheets import contact_rows, sheet, write_contact_sheet, write_preview
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio
from synth.style import Draw, Style

NAMES = ("inkfill-sub-c", "klee-one", "kouzan-brush", "tw-kai", "yomogi", "zen-kurenaido")
ALPHABET = Alphabet.of("永國一三口心風的我未土己")


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six fonts and 400 candidates: all fonts take seconds."""
    everything = studio.find_fonts

    def some(folders: list[Path] = (), writers: bool = False) -> list[FontFile]:
        found = everything(folders, writers)
        return [f for f in found if f.name in NAMES or f.path.parent in list(folders)]

    monkeypatch.setattr(studio, "find_fonts", some)
    monkeypatch.setattr(studio, "MAX_CANDIDATES", 400)


def real_store(path: Path, counts: dict[str, int], split: str = "train") -> Store:
    rng = np.random.default_rng(0)
    with StoreWriter(path, Canvas(48, 4), ALPHABET, {}) as writer:
        for label, count in counts.items():
            images = np.zeros((count, 48, 48), np.uint8)
            at = rng.integers(6, 30, count)
            for image, x in zip(images, at, strict=True):
                image[5:43, x : x + 3] = 255
            writer.append(images, [Sample(label, label, "real", split)] * count)
    return Store.open(path)


def test_from_an_alphabet(tmp_path: Path) -> None:
    made = Studio.prepare(ALPHABET, None, per_class=6, other_images=120, other_chars=80)
    assert made.canvas == Canvas() and made.style == Style()
    counts = Counter(made.plan.label)
    assert counts == dict.fromkeys(ALPHABET.chars, 6) | {OTHER: 120}
    assert len(made.others) == pytest.approx(80, abs=2)
    assert not set(made.others) & set(ALPHABET.chars)
    assert {"confusable", "common", "script"} <= set(made.others.values())
    assert all(sum(c in f.usable for f in made.coverages) >= 1 for c in made.others)
    table = made.check.table().splitlines()
    assert [line.split()[0] for line in table] == ["font", *sorted(NAMES)]
    assert [int(line.split()[1]) for line in table[1:]] == [
        len(c.usable & set(ALPHABET.chars)) for c in made.coverages
    ]
    for line in table[1:]:  # the reasons add up to what is lacking
        has, lacks, *why = line.split(None, 3)[1:]
        own = why[0].split("; ")[0] if why and not why[0].startswith("of other") else ""
        assert int(has) + int(lacks) == len(ALPHABET)
        assert sum(int(n) for n in re.findall(r"\d+", own)) == int(lacks)
    store = made.render_to(tmp_path / "store", 1, {"command": "test"})
    assert len(store) == 192 and store.info["made"] == {"command": "test"}
    assert store.info["notes"]["others"] == made.others
    quota = store.info["notes"]["quota"]
    assert (quota.keys(), quota["other"], quota["cap"]) == ({"other", "cap", "classes"}, 120, None)
    assert quota["classes"]["永"] == {"real": 0, "planned": 6}
    assert store.info["notes"]["put_back"] == {} and store.info["notes"]["dropped"] == []
    assert Counter(store.column("label").tolist()) == counts


def test_from_real_data_by_quota_with_its_pen_and_canvas(tmp_path: Path) -> None:
    real = real_store(tmp_path / "real", {"永": 60, "國": 60, "一": 5})
    made = Studio.prepare(ALPHABET, real, target=70, other_images=0)
    assert made.canvas == real.canvas
    assert made.quota.real["永"] == 60 and made.quota.lacking["永"] == 35
    assert made.quota.lacking["一"] == 65 and made.quota.lacking["我"] == 70
    assert made.style != Style() and len(made.style.stroke_px) == len(Style().stroke_px)
    assert made.others == {} and OTHER not in set(made.plan.label)
    fitted = Studio.prepare(ALPHABET, real, target=70, other_images=0, style=made.style)
    assert fitted.style == made.style


def test_a_users_list_in_place_of_the_chosen(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("末\n士\n永\nA\n", "utf-8")
    made = Studio.prepare(
        ALPHABET, None, per_class=1, other_images=50, other_from=tmp_path / "list.txt"
    )
    assert made.others == dict.fromkeys("A士末", "listed")
    kinds = Counter(made.plan.kind)
    assert kinds["listed"] == 50 - round(50 * other.NON_CHARACTER_SHARE)
    shown = {made.plan.chars[c] for c in made.plan.char[made.plan.kind == "listed"]}
    assert shown == set("A士末")


def test_what_of_a_users_list_is_no_other_is_named(tmp_path: Path) -> None:
    """Of the alphabet, or a form of one in it; nothing is rendered where that is all."""
    (tmp_path / "list.txt").write_text("末\n永\n⼟\n", "utf-8")
    settings = {"per_class": 1, "other_images": 50, "other_from": tmp_path / "list.txt"}
    made = Studio.prepare(ALPHABET, None, **settings)
    assert made.others == {"末": "listed"}
    (line,) = made.check.remarks()
    assert line == "left out of the listed others, in the alphabet or a form of one in it: ⼟ 永"
    (tmp_path / "list.txt").write_text("永\n⼟\n", "utf-8")
    with pytest.raises(InputError, match="nothing is left of the listed others: 2 are in the alph"):
        Studio.prepare(ALPHABET, None, **settings)


def test_characters_that_too_few_fonts_have_for_a_vote_are_named() -> None:
    check = Studio.prepare(ALPHABET, None, per_class=1, other_images=0).check
    assert not check.remarks()
    (line,) = replace(check, coverages=check.coverages[:3]).remarks()
    assert line == (
        f"{len(ALPHABET)} characters are in 3 fonts or fewer; their glyphs were not held against "
        f"one another: {' '.join(ALPHABET.chars)}"
    )


def test_what_one_font_alone_has_is_used_where_it_looks_like_one_of_the_alphabet() -> None:
    made = Studio.prepare(ALPHABET, None, per_class=1, other_images=200, other_chars=80)
    fonts = characters_of([f for f in find_fonts() if f.name in NAMES])
    alone = {c: kind for c, kind in made.others.items() if fonts[c] == 1}
    assert "〦" in alone  # like 二 or 三
    assert set(alone.values()) == {"confusable"}


def test_a_rare_listed_character_is_used_too(tmp_path: Path) -> None:
    """One that no font of the alphabet has, and that is not among the common candidates."""
    klee = next(f for f in find_fonts() if f.name == "klee-one")
    own = copy_of(klee, tmp_path / "own.ttf", {"𠀋": "丈"})
    (tmp_path / "list.txt").write_text("𠀋\n", "utf-8")
    made = Studio.prepare(
        *(ALPHABET, None, [tmp_path]),
        per_class=1,
        other_images=40,
        other_from=tmp_path / "list.txt",
    )
    assert made.others == {"𠀋": "listed"}
    rows = made.plan.kind == "listed"
    assert rows.sum() > 30 and {made.plan.fonts[f] for f in made.plan.font[rows]} == {own}


def test_characters_that_no_font_has_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no font has 1 of 2 characters: 😀"):
        Studio.prepare(Alphabet.of("永😀"), None, per_class=1)
    (tmp_path / "list.txt").write_text("末\n😀\n", "utf-8")
    with pytest.raises(InputError, match="no font has 1 of 14 characters: 😀"):
        Studio.prepare(ALPHABET, None, per_class=1, other_from=tmp_path / "list.txt")


def test_a_wrong_glyph_is_left_out_unless_it_is_the_last(tmp_path: Path) -> None:
    klee = next(f for f in find_fonts() if f.name == "klee-one")
    shows = {c: c for c in "永國一三口心風的我未土己金木水火"} | {"永": "我", "我": "永"}
    copy_of(klee, tmp_path / "swapped.ttf", shows)
    made = Studio.prepare(ALPHABET, None, [tmp_path], per_class=30, other_images=0)
    [swapped] = [c for c in made.coverages if c.font.name == "swapped"]
    assert swapped.rejected["永"] == "drawn as 我" and swapped.rejected["我"] == "drawn as 永"
    f = made.coverages.index(swapped)
    drawn = {made.plan.chars[c] for c in made.plan.char[made.plan.font == f]}
    assert drawn and not drawn & set("永我")
    assert "2 another character" in made.check.table()


def refuse(monkeypatch: pytest.MonkeyPatch, reasons: dict[str, str]) -> None:
    """The vote gives these reasons in every font."""
    vote = checks.outvoted

    def strict(coverages: Sequence[Coverage], *args: object) -> list[Coverage]:
        return [
            replace(c, usable=c.usable - reasons.keys(), rejected={**c.rejected, **reasons})
            for c in vote(coverages, *args)
        ]

    monkeypatch.setattr(checks, "outvoted", strict)


def test_what_the_vote_takes_from_every_font_is_put_back_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse(monkeypatch, {"永": "drawn as 我", "末": "drawn as 未"})
    (tmp_path / "list.txt").write_text("末\n士\n", "utf-8")
    made = Studio.prepare(
        ALPHABET, None, per_class=7, other_images=40, other_from=tmp_path / "list.txt"
    )
    assert made.check.put_back == {name: {"永": "drawn as 我"} for name in NAMES}
    assert Counter(made.plan.label)["永"] == 7 and not made.check.missing
    assert made.others == {"士": "listed"} and made.check.dropped == ("末",)
    back, dropped = made.check.remarks()
    assert back.startswith(
        "put back, since the vote leaves no font: 永 in inkfill-sub-c (drawn as 我), "
    )
    assert dropped == "left out of the listed others, no font is left: 末"
    notes = made.render_to(tmp_path / "store", 1, {}).info["notes"]
    assert notes["put_back"] == made.check.put_back and notes["dropped"] == ["末"]
    rows = [row for row in made.check.refused() if row[1] in "永末"]
    assert len(rows) == 2 * len(NAMES)
    assert ("yomogi", "永", "U+6C38", "another character, but put back", "我") in rows
    assert ("yomogi", "末", "U+672B", "another character", "未") in rows


@pytest.mark.parametrize("why", ["blank", ".notdef", "shared", "too complex"])
def test_a_stand_in_is_never_put_back(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """As where many share a picture, which a short list does not show."""
    refuse(monkeypatch, {"永": why})
    with pytest.raises(InputError, match="no font has 1 of 12 characters: 永"):
        Studio.prepare(ALPHABET, None, per_class=1, other_images=0)


def test_a_font_with_nothing_usable_has_a_row(tmp_path: Path) -> None:
    glyphs = {"永": NOTDEF, "國": [], "A": letter(1)}
    build_font(tmp_path / "boxes.ttf", glyphs)
    build_font(tmp_path / "latin.ttf", {"A": letter(1)})
    made = Studio.prepare(ALPHABET, None, [tmp_path], per_class=1, other_images=0)
    assert {c.font.name for c in made.coverages} == set(NAMES)
    rows = {line.split()[0]: line for line in made.check.table().splitlines()}
    assert rows["boxes"].split(None, 1)[1] == "0     12  10 unmapped, 1 blank, 1 .notdef"
    assert "latin" not in rows  # it claims nothing
    rows = {line.split()[0]: line for line in made.check.table(every=True).splitlines()}
    assert rows["latin"].split(None, 1)[1] == "0     12  12 unmapped"
    assert [row[:4] for row in made.check.refused() if row[0] == "boxes" and row[1] in "永國"] == [
        ("boxes", "國", "U+570B", "blank"),
        ("boxes", "永", "U+6C38", ".notdef"),
    ]


def test_characters_that_the_fullest_font_lacks_have_look_alikes_too(tmp_path: Path) -> None:
    full = build_font(tmp_path / "full.ttf", {c: letter(k) for k, c in enumerate("ABCDEFGHIJ")})
    shapes = {
        "日": letter(12),
        "曰": letter(13),
        "八": [[(0, 0), (400, 700), (300, 0)]],
        "A": letter(0),
    }
    part = build_font(tmp_path / "part.ttf", shapes)
    alphabet = Alphabet.of("A日")
    known = [checks.open_font(f).coverage(alphabet.chars) for f in (part, full)]
    near = checks.near_of(known, alphabet, [*"ABCDEFGHIJ", *"日曰八"], 1)
    assert "曰" in near and "八" not in near
    assert near & set("BCDEFGHIJ")  # A is asked of the fullest


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"strength": -0.1}, "--strength -0.1"),
        ({"strength": float("nan")}, "--strength nan: a factor from 0"),
        ({"strength": float("inf")}, "--strength inf: a factor from 0"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**63}, "--seed 9223372036854775808"),
        ({"other_chars": -5}, "--other-chars -5"),
        ({"per_class": -1}, "--per-class -1"),
        ({"font_folders": [Path("no/such/folder")]}, "no/such/folder: no such folder"),
        ({"other_from": Path("no/such/list")}, "no/such/list"),
        ({"other_from": Path("list"), "other_images": 0}, "--other-from list: no image of other"),
        ({"other_from": Path("list"), "per_class": 0}, "--other-from list: no image of other"),
        ({"other_from": Path("list"), "other_chars": 9}, "says which others: leave --other-chars"),
        (
            {"per_class": 0, "other_images": 50, "other_chars": 0},
            "nothing to render: no character to make the 50 images of other from",
        ),
        ({"per_class": 0, "other_images": 0}, "nothing to render: every class already has"),
        ({"writers": 0}, "--writers 0"),
        ({"without": ["no-such"]}, "--without no-such: no font of that name"),
        ({"without": list(NAMES)}, "--without: no font is left"),
    ],
)
def test_wrong_arguments_are_one_line(wrong: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Studio.prepare(ALPHABET, None, **wrong)
    assert "\n" not in str(caught.value)


def test_fonts_are_left_out_by_name_and_hands_counted() -> None:
    made = Studio.prepare(
        ALPHABET, None, per_class=8, other_images=0, writers=3, without=["yomogi", "tw-kai"]
    )
    left = {c.font.name for c in made.coverages}
    assert left == set(NAMES) - {"yomogi", "tw-kai"}
    _, samples = render_places(made.plan, np.arange(len(made.plan)))
    assert {Draw.from_json(s.record).writer for s in samples} == {0, 1, 2}


def test_a_rare_character_like_a_known_one_votes_and_is_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """末 is not among the 50 candidates that most fonts have; it looks like 未."""
    monkeypatch.setattr(studio, "MAX_CANDIDATES", 50)
    made = Studio.prepare(Alphabet.of("永未國"), None, per_class=2, other_images=90, other_chars=40)
    assert made.others["末"] == "confusable"


def test_the_contact_sheet_shows_what_was_refused_and_what_others_draw(tmp_path: Path) -> None:
    klee = next(f for f in find_fonts() if f.name == "klee-one")
    shows = {c: c for c in "永國一三口心風的我未土己金木水火"} | {"永": "我", "我": "永"}
    copy_of(klee, tmp_path / "swapped.ttf", shows)
    made = Studio.prepare(ALPHABET, None, [tmp_path], per_class=1, other_images=0)
    write_contact_sheet(made, tmp_path / "sheet.png", columns=8)
    page = np.asarray(Image.open(tmp_path / "sheet.png"))
    row = next(i for i, c in enumerate(made.coverages) if c.font.name == "swapped")
    reasons = [
        {w.split()[0] for w in c.rejected.values()} - {"unmapped", "blank"} for c in made.coverages
    ]
    top = (row + 1 + 2 * sum(map(len, reasons[:row]))) * 50 + 2 * 50 * sorted(reasons[row]).index(
        "drawn"
    )
    refused, others = page[top : top + 48, 150:], page[top + 50 : top + 98, 150:]
    swapped = [c for c, w in made.coverages[row].rejected.items() if w.startswith("drawn")]
    assert sorted(swapped) == ["我", "永"]
    # each of the two glyphs looks like the other one in the row below
    a, b = (255.0 - refused[:, k * 48 : k * 48 + 48] for k in (0, 1))
    c, d = (255.0 - others[:, k * 48 : k * 48 + 48] for k in (0, 1))

    def alike(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    assert alike(a, d) + alike(b, c) > alike(a, c) + alike(b, d) + 0.2


def test_the_preview_shows_each_font_and_each_kind(tmp_path: Path) -> None:
    made = Studio.prepare(ALPHABET, None, per_class=30, other_images=300, other_chars=60)
    write_preview(made, tmp_path / "sheet.png", columns=8)
    image = np.asarray(Image.open(tmp_path / "sheet.png"))
    there = set(made.plan.kind)
    kinds = [k for k in (*other.CHARACTER_KINDS, *other.NON_CHARACTER_KINDS) if k in there]
    assert {"confusable", "common", "script", *other.NON_CHARACTER_KINDS} <= {*kinds}
    assert image.shape == ((len(NAMES) + 4 + len(kinds)) * 66, 150 + 8 * 64)
    # the picture is the plan's own: row of the first font, first column
    first = made.plan.fonts[0]
    char = ALPHABET.chars[0]
    place = np.flatnonzero((made.plan.font == 0) & (made.plan.char == made.plan.chars.index(char)))[
        :1
    ]
    picture, [sample] = render_places(made.plan, place)
    assert sample.origin == f"{first.name}:{char}"
    assert (image[:64, 150:214] == 255 - picture[0]).all()
    assert all((image[i * 66 : i * 66 + 64, 150:] < 128).any() for i in range(len(NAMES)))


def test_sheet_of_rows() -> None:
    page = sheet([("a", np.zeros((8, 20), np.uint8)), ("b", np.full((8, 12), 255, np.uint8))], 30)
    pixels = np.asarray(page)
    assert pixels.shape == (20, 50)
    assert (pixels[:8, 30:] == 255).all() and (pixels[10:18, 30:42] == 0).all()


def test_without_strength_glyphs_are_plain_for_real_data_too(tmp_path: Path) -> None:
    """The fit must not bring back what was taken away; the data's pen stays."""
    real = real_store(tmp_path / "real", {"永": 60, "國": 60})
    plain = Studio.prepare(ALPHABET, real, per_class=2, other_images=0, strength=0)
    assert plain.style.stroke_px != Style().stroke_px
    _, samples = render_places(plain.plan, np.arange(len(plain.plan)))
    records = [Draw.from_json(s.record) for s in samples]
    names = ("slant", "rotation", "aspect_log", "bend_em", "wobble_em", "part_shift_em", "climb")
    names += ("part_scale_log", "part_turn", "cluster_shift_em", "end_em", "pressure")
    assert {getattr(r, n) for r in records for n in names} == {0.0}


def test_the_contact_sheet_says_of_how_many_it_shows_some(tmp_path: Path) -> None:
    klee = next(f for f in find_fonts() if f.name == "klee-one")
    swapped = dict(zip("永國一三口心風的", "國永三一心口的風", strict=True))
    copy_of(klee, tmp_path / "swapped.ttf", {c: c for c in "我未土己金木水火"} | swapped)
    made = Studio.prepare(ALPHABET, None, [tmp_path], per_class=1, other_images=0)
    [coverage] = [c for c in made.coverages if c.font.name == "swapped"]
    wrong = sum(why.startswith("drawn as") for why in coverage.rejected.values())
    assert wrong > 4
    titles = [title for title, _ in contact_rows(made, columns=4)]
    at = titles.index("swapped\n  4 of 12 shown")
    assert f"  refused: other glyph\n  4 of {wrong} shown" in titles[at + 1 :]
    titles = [title for title, _ in contact_rows(made, columns=30)]
    assert "swapped" in titles and not [title for title in titles if "\n" in title]


def test_a_title_of_two_lines_is_two_lines_of_ink() -> None:
    row = np.zeros((48, 48), np.uint8)
    one, two = (
        np.asarray(sheet([(title, row)], 150)).min(1) < 128 for title in ("font", "font\n  4 of 9")
    )
    lines = [np.flatnonzero(np.diff(there.astype(int)) == 1) for there in (one, two)]
    assert len(lines[0]) == 1 and len(lines[1]) == 2
    assert lines[1][0] > 0 and two[-2:].sum() == 0  # in the middle of its row


def test_the_bar_of_a_render_is_no_flood_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict] = []
    bar = command.tqdm
    monkeypatch.setattr(command, "tqdm", lambda **how: asked.append(how) or bar(**how))
    made = Studio.prepare(ALPHABET, None, per_class=1, other_images=0)
    made.render_to(tmp_path / "store", 1, {})
    assert asked[0]["total"] == 12 and asked[0]["mininterval"] >= 10
