"""What is not in the alphabet: chosen by likeness, never a known character in disguise."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_synth_likeness import level_1

from synth import other
from synth.alphabet import Alphabet
from synth.canvas import Canvas, place
from synth.fonts import ASSETS, FontFile, find_fonts, open_font, script_of
from synth.handwriting import Style, apply, draw
from synth.likeness import SIZE_PX, Atlas, build_atlas, strokes
from synth.raster import rasterise
from synth.variants import variants_of

CANVAS = Canvas()
EUROPEAN = [
    chr(code)
    for code in (
        *(*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x391, 0x3CA)),
        *(*range(0x410, 0x450), 0x405, 0x406, 0x408, 0x455, 0x456, 0x458),
    )
    if unicodedata.category(chr(code))[0] in "LN"
]
TRADITIONAL, SIMPLIFIED = "國龍風銀車東馬鳥門書", "国龙风银车东马鸟门书"


def atlas_of(chars: list[str], least: int) -> Atlas:
    """In the project's fonts that have `least` of them."""
    found = [open_font(f).coverage(chars) for f in find_fonts()]
    return build_atlas([c for c in found if len(c.usable) >= least], sorted(set(chars)))


@pytest.fixture(scope="module")
def european() -> Atlas:
    return atlas_of(EUROPEAN, 100)


@pytest.fixture(scope="module")
def han() -> Atlas:
    more = "未末土士己已巳大太犬人入口日曰目ロカハ永國" + TRADITIONAL + SIMPLIFIED
    return atlas_of([*level_1(12), *more, *EUROPEAN], 300)


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


CHOSEN = ("confusable", "variant", "digit", "radical", "script", "common")  # in this order


def test_kinds_come_in_their_shares_and_from_where_they_say(han: Atlas) -> None:
    alphabet = Alphabet.of([*level_1(12)[::5], *TRADITIONAL])
    chosen = other.choose(han, alphabet, 200, seed=4)
    counts = {k: sum(v == k for v in chosen.values()) for k in CHOSEN}
    wanted = {k: round(200 * other.KIND_SHARE[k] / 0.88) for k in CHOSEN}
    assert counts == pytest.approx(wanted, abs=1) and min(counts.values()) >= 2
    assert len(chosen) == 200 and list(dict.fromkeys(chosen.values())) == list(CHOSEN)
    variants = variants_of(alphabet.chars, han.chars)
    for char, kind in chosen.items():
        belongs = {
            "variant": char in variants,
            "digit": char in "0123456789",
            "radical": char in other.RADICALS,
            "script": script_of(char) != "CJK",
            "common": script_of(char) == "CJK",
        }
        assert belongs.get(kind, True), (char, kind)
    assert other.choose(han, alphabet, 200, seed=4) == chosen
    another = other.choose(han, alphabet, 200, seed=5)
    assert {c for c, k in another.items() if k == "confusable"} == {
        c for c, k in chosen.items() if k == "confusable"
    }
    assert another != chosen


def test_common_ones_make_up_for_what_other_kinds_lack(han: Atlas) -> None:
    """Without digits and other scripts there are as many other characters as before."""
    kept = np.array([script_of(c) == "CJK" for c in han.chars])
    chars = tuple(c for c, keep in zip(han.chars, kept, strict=True) if keep)
    atlas = Atlas(chars, han.fonts, han.features[:, kept], han.has[:, kept])
    chosen = other.choose(atlas, Alphabet.of("永國我"), 100, seed=1)
    assert len(chosen) == 100 and not {"digit", "script"} & set(chosen.values())


def test_nothing_outside_gives_nothing() -> None:
    atlas = atlas_of(list("ABC"), 3)
    assert other.choose(atlas, Alphabet.of("ABC"), 50, 1) == {}
    assert other.choose(atlas, Alphabet.of("永"), 50, 1) == {}  # none of the alphabet is there


def test_a_radical_or_a_full_width_form_of_a_known_character_is_not_other() -> None:
    """Kangxi radicals and full-width digits look exactly like what they are forms of."""
    alphabet = Alphabet.of("一木1")
    forms = ["⼀", "一", "⽊", "１", "1", "⽔", "水", "２", "2"]
    assert other.outside(alphabet, forms) == ["⽔", "水", "２", "2"]
    assert other.outside(Alphabet.of("⼀"), forms[:2]) == []
    assert set("一木水") <= other.RADICALS and not set("⼀⽊⽔⺡") & other.RADICALS
    assert "氵" in other.RADICALS and len(other.RADICALS) > 214
    assert other.candidates(["⼀", "⺡", "氵"]) == ["氵"]  # no code point of a radical block


def test_candidates_are_what_somebody_might_write() -> None:
    assert other.candidates(["A", "永", "7", "²", "ʰ", "!", "\u0301", " ", "+", "Ⅳ"]) == [
        *("A", "永", "7", "²", "Ⅳ")
    ]
    assert other.candidates(["Ａ", "７", "ﾋ", "ヒ", "ﾠ"]) == ["ヒ"]  # the others in another width


KANA = "あいうえおかきくけこさしすせそたちつてとアイウエオカキクケコサシスセソタチツテト"


def test_katakana_is_common_beside_hiragana_and_the_reverse() -> None:
    atlas = atlas_of([*KANA, *"ABCDEFGHKLM"], 40)
    for known, unknown in ((KANA[:20], KANA[20:]), (KANA[20:], KANA[:20])):
        chosen = other.choose(atlas, Alphabet.of(known[:12]), 30, seed=1)
        common = {c for c, kind in chosen.items() if kind == "common"}
        assert common & set(unknown) and common <= {*known, *unknown}


def test_letters_are_common_beside_digits_alone(european: Atlas) -> None:
    chars = sorted({*european.chars} | {*"0123456789"})
    atlas = atlas_of(chars, 100)
    common = {
        k for k, v in other.choose(atlas, Alphabet.of("01234567"), 60, 1).items() if v == "common"
    }
    assert len(common) > 10 and {script_of(c) for c in common} == {"LATIN"}
    chosen = other.choose(atlas, Alphabet.of("0123АБ"), 60, seed=1)  # digits and Cyrillic
    assert "LATIN" not in {script_of(c) for c, kind in chosen.items() if kind == "common"}


def test_a_kind_of_few_characters_gives_images_away() -> None:
    whole = {"confusable": 500, "common": 300, "digit": 10}
    assert other.kind_shares(whole) == {kind: other.KIND_SHARE[kind] for kind in whole}
    for counts in (whole | {"common": 5}, whole | {"common": 5, "digit": 1, "script": 40}):
        shares = other.kind_shares(counts)
        total = sum(shares.values())
        each = {kind: share / total / counts[kind] for kind, share in shares.items()}
        most = other.MOST_EACH / sum(counts.values())
        assert each["common"] == pytest.approx(most) and max(each.values()) < most * 1.0001
        free = [k for k in counts if each[k] < most * 0.999]  # among them the shares stay
        assert len({round(shares[k] / other.KIND_SHARE[k], 9) for k in free}) == 1
    assert other.kind_shares({"listed": 3}) == {"listed": other.KIND_SHARE["listed"]}


def test_shares_are_whole() -> None:
    chosen = sum(other.KIND_SHARE[k] for k in CHOSEN)
    assert chosen + other.NON_CHARACTER_SHARE == pytest.approx(1)
    assert other.KIND_SHARE["listed"] == pytest.approx(chosen)
    assert set(other.KIND_SHARE) == {*CHOSEN, "listed"} == set(other.CHARACTER_KINDS)
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
        other.non_characters(images, partners, [kind] * n, np.arange(n), CANVAS),
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
    again = other.non_characters(images[9:10], partners[9:10], [kind], np.arange(9, 10), CANVAS)
    assert (again[0] == out[9]).all()  # pure, and a batch is its samples
    if kind != "mirrored":
        different = other.non_characters(images, partners, [kind] * n, np.arange(n) + n, CANVAS)
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


def test_crossed_keeps_the_character_and_adds_long_strokes() -> None:
    images, partners, out = made("crossed")
    own, another = [], []
    for image, partner, result in zip(images[::4], partners[::4], out[::4], strict=True):
        rows, columns = (np.flatnonzero(result.any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) >= CANVAS.box_px - 2  # placed like any image
        own.append(covered(image, result))
        another.append(covered(partner, result))
    assert min(own) > 0.65 and np.mean(own) > np.mean(another) + 0.1


def covered(image: np.ndarray, result: np.ndarray) -> float:
    """The share of a picture's ink that another shows too, where it is smaller, in its middle."""
    best = 0.0
    for size in range(40, 62, 3):
        small = Image.fromarray(image).resize((size, size), Image.Resampling.BOX)
        inked = np.asarray(small) > 128
        middle = (CANVAS.size_px - size) // 2
        near = range(max(0, middle - 8), min(CANVAS.size_px - size, middle + 8) + 1)
        for y, x in itertools.product(near, near):
            shown = result[y : y + size, x : x + size][inked] > 60
            best = max(best, float(shown.mean()))
    return best


def toy(lines: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Lines from x, y to x, y on a grid of 0 to 10 -> [64, 64] uint8."""
    picture = Image.new("L", (64, 64))
    pen = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in lines:
        ends = [(5 + 5.4 * x0, 5 + 5.4 * y0), (5 + 5.4 * x1, 5 + 5.4 * y1)]
        pen.line(ends, fill=255, width=4)
    return place(np.asarray(picture), CANVAS)


BOX = [(1, 1, 9, 1), (9, 1, 9, 9), (9, 9, 1, 9), (1, 9, 1, 1)]
TREE = [(5, 0, 5, 10), (1, 3, 9, 3), (5, 3, 1, 8), (5, 3, 9, 8)]
TOYS = {
    **{"口": toy(BOX), "日": toy([*BOX, (1, 5, 9, 5)])},
    **{"目": toy([*BOX, (1, 3, 9, 3), (1, 6, 9, 6)]), "一": toy([(0, 5, 10, 5)])},
    **{"二": toy([(1, 2, 9, 2), (0, 8, 10, 8)]), "木": toy(TREE)},
    **{"三": toy([(1, 1, 9, 1), (1, 5, 9, 5), (0, 9, 10, 9)])},
    **{"未": toy([*TREE, (2, 1, 8, 1)]), "人": toy([(5, 1, 1, 9), (5, 3, 9, 9)])},
    **{"大": toy([(5, 1, 1, 9), (5, 4, 9, 9), (1, 4, 9, 4)])},
    **{"十": toy([(5, 0, 5, 10), (0, 5, 10, 5)]), "田": toy([*BOX, (1, 5, 9, 5), (5, 1, 5, 9)])},
}


def test_a_crossed_character_is_not_the_one_with_a_stroke_more() -> None:
    """口 with a level line is 日, 一 is 二, 人 is 大, 木 is 未."""
    small = Canvas(SIZE_PX, margin_px=1)

    def features(images: Sequence[np.ndarray]) -> np.ndarray:
        return strokes(np.stack([place(image, small) for image in images]))

    known = features(list(TOYS.values()))
    twins = features([toy([*BOX, (1, 6, 9, 6)]), toy([(1, 2, 9, 2), (0, 9, 10, 9)])])
    assert (twins @ known.T).max(1).min() > 0.93  # what is looked for would be seen
    fields = np.arange(150)
    for number, image in enumerate(TOYS.values()):
        many = np.repeat(image[None], len(fields), 0)
        out = other.non_characters(many, many, ["crossed"] * len(fields), fields, CANVAS)
        alike = features(list(out)) @ known.T
        assert np.median(alike.max(1)) < 0.87
        # a cross may hide in its own legs (木, 未), which a plan looks for: it is no other one
        assert np.delete(alike, number, 1).max() < 0.93
