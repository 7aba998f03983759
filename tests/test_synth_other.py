"""What is not in the alphabet: chosen by likeness, never a known character in disguise."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from test_synth_likeness import level_1

from synth import other
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.fonts import ASSETS, FontFile, find_fonts, open_font, script_of
from synth.handwriting import Style, apply, draw
from synth.likeness import Atlas, build_atlas
from synth.raster import rasterise

CANVAS = Canvas()
EUROPEAN = [
    chr(code)
    for code in (
        *(*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x391, 0x3CA)),
        *(*range(0x410, 0x450), 0x405, 0x406, 0x408, 0x455, 0x456, 0x458),
    )
    if unicodedata.category(chr(code))[0] in "LN"
]


def atlas_of(chars: list[str], least: int) -> Atlas:
    """In the project's fonts that have `least` of them."""
    found = [open_font(f).coverage(chars) for f in find_fonts()]
    return build_atlas([c for c in found if len(c.usable) >= least], sorted(set(chars)))


@pytest.fixture(scope="module")
def european() -> Atlas:
    return atlas_of(EUROPEAN, 100)


@pytest.fixture(scope="module")
def han() -> Atlas:
    return atlas_of([*level_1(12), *"未末土士己已巳大太犬人入口日曰目ロカハ永國", *EUROPEAN], 300)


# Latin, Greek and Cyrillic letters that are drawn alike, but for their size. К, Υ and ν are not:
# they have curls of their own in most fonts.
ONE_PICTURE = [
    *("AΑА", "BΒВ", "EΕЕ", "HΗН", "IΙІ", "MΜМ", "NΝ", "PΡР", "TΤТ"),
    *("CСcс", "OΟОoοо", "SЅsѕ", "Vv", "Ww", "XΧХxх", "ZΖz"),
]


@pytest.mark.parametrize("known", ["ΑΒΕΖΗΙΜΝΟΡΤΧ", "ABEMHOPCTX", "АВЕМНОРСТХ", "oscvwxz"])
def test_the_same_picture_in_another_script_or_case_is_never_other(
    european: Atlas, known: str
) -> None:
    alphabet = Alphabet.of(known)
    chosen = other.choose(european, alphabet, 60, seed=1)
    same = {c for group in ONE_PICTURE if set(group) & set(known) for c in group} - set(known)
    assert len(same) > 5 and not set(chosen) & same
    assert not set(chosen) & set(known)
    assert len(chosen) >= 40


def test_the_most_confusable_characters_are_found(han: Atlas) -> None:
    alphabet = Alphabet.of("未土己大日人永國")
    chosen = other.choose(han, alphabet, 60, seed=1)
    confusable = {c for c, kind in chosen.items() if kind == "confusable"}
    assert confusable >= set("末士已太入")
    assert not set(chosen) & set(alphabet.chars)
    # nearer to the alphabet than the common ones are
    mean, at = han.mean, {c: i for i, c in enumerate(han.chars)}
    known = mean[[at[c] for c in alphabet.chars]]
    best = {c: float((known @ mean[at[c]]).max()) for c in chosen}
    common = [best[c] for c, kind in chosen.items() if kind == "common"]
    assert np.mean([best[c] for c in confusable]) > np.mean(common) + 0.03


def test_kinds_come_in_their_shares_and_from_their_scripts(han: Atlas) -> None:
    alphabet = Alphabet.of(level_1(12)[::5])
    chosen = other.choose(han, alphabet, 200, seed=4)
    counts = {k: sum(v == k for v in chosen.values()) for k in other.CHARACTER_KINDS}
    shares = {k: other.KIND_SHARE[k] / 0.88 for k in ("confusable", "common", "script")}
    assert counts == {k: round(200 * s) for k, s in shares.items()} | {"listed": 0}
    for char, kind in chosen.items():
        if kind != "confusable":
            assert (script_of(char) == "CJK") == (kind == "common")
    assert other.choose(han, alphabet, 200, seed=4) == chosen
    another = other.choose(han, alphabet, 200, seed=5)
    assert {c for c, k in another.items() if k == "confusable"} == {
        c for c, k in chosen.items() if k == "confusable"
    }
    assert another != chosen


def test_nothing_outside_gives_nothing() -> None:
    atlas = atlas_of(list("ABC"), 3)
    assert other.choose(atlas, Alphabet.of("ABC"), 50, 1) == {}
    assert other.choose(atlas, Alphabet.of("永"), 50, 1) == {}  # none of the alphabet is there


def test_candidates_are_what_somebody_might_write() -> None:
    assert other.candidates(["A", "永", "7", "²", "ʰ", "!", "\u0301", " ", "+", "Ⅳ"]) == [
        *("A", "永", "7", "²", "Ⅳ")
    ]


def test_shares_are_whole() -> None:
    three = sum(other.KIND_SHARE[k] for k in ("confusable", "common", "script"))
    assert three + other.NON_CHARACTER_SHARE == pytest.approx(1)
    assert other.KIND_SHARE["listed"] == pytest.approx(three)
    assert set(other._DRAWERS) == set(other.NON_CHARACTER_KINDS)


def written(chars: str, first: int = 0) -> np.ndarray:
    font = open_font(FontFile(ASSETS / "inkfill-sub-c.woff"))
    index = np.arange(first, first + len(chars))
    records = draw(Style().scaled(0.3), 1, index, index)
    return rasterise(apply([font.outline(c) for c in chars], records, CANVAS), CANVAS)


CHARS = "永國一三口心龍風的我中二十日回川" * 4


def made(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Originals, partners, results."""
    images, partners = written(CHARS), written(CHARS[7:] + CHARS[:7], 500)
    n = len(images)
    return (
        images,
        partners,
        other.non_characters(images, partners, [kind] * n, np.arange(n), 1, CANVAS),
    )


def alike(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float).ravel(), b.astype(float).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


@pytest.mark.parametrize("kind", other.NON_CHARACTER_KINDS)
def test_a_non_character_is_another_picture_on_the_canvas(kind: str) -> None:
    images, partners, out = made(kind)
    before = images.copy()
    assert (out.shape, out.dtype) == (images.shape, np.uint8)
    assert (images == before).all()  # what was given is left alone
    for image, result in zip(images, out, strict=True):
        assert (image != result).any() or kind in ("mirrored", "turned")
        assert kind == "blank" or result.max() > 200
    n = len(images)
    again = other.non_characters(images[9:10], partners[9:10], [kind], np.arange(9, 10), 1, CANVAS)
    assert (again[0] == out[9]).all()  # pure, and a batch is its samples
    if kind != "mirrored":
        different = other.non_characters(images, partners, [kind] * n, np.arange(n), 2, CANVAS)
        assert (different != out).any()


def test_blank_is_blank_or_specks() -> None:
    _, _, out = made("blank")
    inked = (out > 0).sum((1, 2))
    assert inked.max() <= 3 * 9 and (inked == 0).any() and (inked > 0).any()


def test_mirrored_and_turned() -> None:
    images, _, mirrored = made("mirrored")
    assert (mirrored == images[:, :, ::-1]).all()
    _, _, turned = made("turned")
    turns = {
        next(k for k in (1, 2, 3) if (np.rot90(image, k) == result).all())
        for image, result in zip(images, turned, strict=True)
    }
    assert turns == {1, 2, 3}


def test_cut_is_part_of_the_character_and_two_are_two() -> None:
    images, partners, cut = made("cut")
    whole = [c in "永國龍風的我" for c in CHARS]
    for image, result in zip(images[whole], cut[whole], strict=True):
        rows, columns = (np.flatnonzero(result.any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) >= CANVAS.box_px - 2  # placed like any image
        assert alike(image, result) < 0.8
    _, _, two = made("two")
    for image, partner, result in zip(images[whole], partners[whole], two[whole], strict=True):
        rows, columns = (np.flatnonzero(result.any(axis)) for axis in (1, 0))
        longer, shorter = sorted((np.ptp(rows), np.ptp(columns)), reverse=True)
        assert longer > 1.2 * shorter
        assert alike(image, result) < 0.8 and alike(partner, result) < 0.8


def test_crossed_keeps_the_character_and_adds_strokes() -> None:
    images, _, out = made("crossed")
    assert (out >= images).all()
    added = ((out > 0) & (images == 0)).sum((1, 2))
    assert added.min() > 10 and np.median(added) > 60
