"""Reading rates: what is counted, and which fonts and strengths are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synth import studio
from synth.alphabet import Alphabet
from synth.errors import InputError
from synth.fonts import find_fonts
from synth.reading import Rates, Verdict, reading_rates
from synth.studio import Studio

NAMES = ("klee-one", "tw-kai", "zen-kurenaido")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Studio:
    files = [f for f in find_fonts() if f.name in NAMES]
    monkeypatch.setattr(studio, "find_fonts", lambda folders=(), writers=False: files)
    monkeypatch.setattr(studio, "MAX_CANDIDATES", 100)
    return Studio.prepare(Alphabet.of("永國一三口"), None, per_class=1, other_images=0)


def test_every_font_is_asked_at_every_strength(made: Studio) -> None:
    seen = []

    def read(images: np.ndarray) -> list[str]:
        seen.append(len(images))
        return ["永"] * len(images)

    rates = reading_rates(made, read, (0.0, 1.0), per_font=10)
    assert rates.fonts == NAMES and (rates.shown == 10).all() and sum(seen) == 60
    # a reader that always says 永 is right for one of five characters
    assert (rates.right == 2).all() and rates.share == pytest.approx(0.2)
    table = rates.table().splitlines()
    assert table[0].split()[-4:] == ["at", "0", "at", "1"]
    assert table[-1].split() == ["all", "fonts", "60", "20.0", "20.0"]


def test_a_reader_by_the_picture_reads_plain_better_than_wild(made: Studio) -> None:
    plain = reading_images(made)

    def read(images: np.ndarray) -> list[str]:
        flat = images.reshape(len(images), -1).astype(float)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        chars = list(plain)
        scores = np.stack([(flat @ plain[c].T).max(1) for c in chars], 1)
        return [chars[i] for i in scores.argmax(1)]

    rates = reading_rates(made, read, (0.0, 4.0), per_font=20)
    assert rates.share[:, 0].mean() > 0.8 > rates.share[:, 1].mean() + 0.1


def reading_images(made: Studio) -> dict[str, np.ndarray]:
    from synth.fonts import open_font
    from synth.raster import plain_pictures

    found = {}
    for char in made.alphabet.chars:
        glyphs = [open_font(c.font).raw(char) for c in made.coverages]
        flat = plain_pictures(glyphs, 64, 5).reshape(len(glyphs), -1).astype(float)
        found[char] = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return found


RATES = Rates(
    ("good", "bad", "middling", "unasked"),
    (0.5, 1.0, 2.0),
    np.array([[9, 8, 8], [9, 2, 9], [1, 9, 3], [0, 0, 0]]),
    np.array([[10, 10, 10], [10, 10, 10], [10, 10, 10], [0, 0, 0]]),
)


def test_what_is_not_read_at_the_strength_that_is_used_is_named() -> None:
    """Over all strengths bad would be read 20 of 30 times, and middling 13. What shows nothing is
    not read."""
    assert RATES.unread_fonts(0.5, at=1.0) == ["bad", "unasked"]
    assert RATES.unread_fonts(0.5, at=0.5) == ["middling", "unasked"]
    assert RATES.unread_fonts(0.5, at=2.0) == ["middling", "unasked"]
    assert RATES.unread_fonts(0.0, at=1.0) == ["unasked"]
    # of the fonts that are read: 10, 17 and 11 of 20
    assert RATES.unread_strengths(0.6, at=1.0) == [0.5, 2.0]
    assert RATES.unread_strengths(0.52, at=1.0) == [0.5]
    assert RATES.unread_strengths(0.5, at=1.0) == []
    assert RATES.unread_strengths(0.95, at=1.0) == [0.5, 1.0, 2.0]  # no font is read
    assert np.isnan(RATES.share[3]).all()
    with pytest.raises(ValueError, match="not in"):
        RATES.unread_fonts(0.5, at=0.7)


def test_the_pictures_are_those_of_a_render_at_that_strength(made: Studio) -> None:
    """At 0 the plain glyph, whatever lean and proportions the data has."""
    leaning = replace(made.style, slant_mean_deg=25.0, aspect_mean_log=0.4)
    seen: list[np.ndarray] = []

    def read(images: np.ndarray) -> list[str]:
        seen.append(images)
        return ["永"] * len(images)

    for style in (made.style, leaning):
        reading_rates(replace(made, style=style), read, (0.0,), per_font=5)
    plain, leant = np.array_split(np.concatenate(seen), 2)
    assert len(plain) == 5 * len(NAMES) and (plain == leant).all()
    seen.clear()
    for style in (made.style, leaning):
        reading_rates(replace(made, style=style), read, (1.0,), per_font=5)
    plain, leant = np.array_split(np.concatenate(seen), 2)
    assert (plain != leant).any((1, 2)).all()


def test_a_verdict_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "read.json"
    RATES.write(path, 0.6, 1.0, {"model": "runs/real_only"})
    verdict = Verdict.read(path)
    assert verdict == Verdict(
        {"good": True, "bad": False, "middling": True, "unasked": False},
        {0.5: False, 1.0: True, 2.0: False},
        1.0,
    )
    assert verdict.unread == ["bad", "unasked"]
    text = json.loads(path.read_text("utf-8"))
    assert text["made"] == {"model": "runs/real_only"} and text["fonts_judged_at"] == 1.0
    assert text["fonts"]["bad"]["share"] == {"0.5": 0.9, "1": 0.2, "2": 0.9}
    assert set(text["fonts"]["unasked"]["share"].values()) == {None}
    assert "NaN" not in path.read_text("utf-8")  # which is no JSON


def test_a_strength_comes_back_with_all_its_digits(tmp_path: Path) -> None:
    rates = replace(RATES, strengths=(0.5, 0.87654321, 2.0))
    rates.write(tmp_path / "read.json", 0.6, 0.87654321, {})
    assert Verdict.read(tmp_path / "read.json").strength(0.87654321) == 0.87654321


@pytest.mark.parametrize(
    "strengths, wanted, used",
    [
        ({0.0: True, 0.5: True, 1.0: True}, 1.0, 1.0),
        ({0.0: True, 0.5: True, 1.0: False, 1.5: False}, 1.0, 0.5),
        ({0.0: False, 0.5: True, 1.0: True}, 0.0, 0.5),
        ({0.0: False, 1.0: False, 2.0: True}, 1.0, 2.0),
        ({0.5: True, 1.0: False, 1.5: True}, 1.0, 0.5),  # the weaker of two as near
    ],
)
def test_a_strength_that_is_not_read_is_not_used(
    strengths: dict[float, bool], wanted: float, used: float
) -> None:
    assert Verdict({}, strengths, wanted).strength(wanted) == used


@pytest.mark.parametrize("wanted", [0.5, 0.9, 3.0])
def test_fonts_that_were_judged_at_another_strength_are_not_taken(wanted: float) -> None:
    verdict = Verdict({"a": True}, {0.5: True, 1.0: True}, 1.0)
    with pytest.raises(InputError, match=f"judged at strength 1, wanted is {wanted:g}"):
        verdict.strength(wanted)


def test_where_no_strength_is_read_nothing_is_rendered() -> None:
    with pytest.raises(InputError, match="no strength of the deformation is read"):
        Verdict({"a": True}, {0.0: False, 1.0: False}, 1.0).strength(1.0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "[" * 100_000, '{"fonts": {}}', '{"fonts": 3, "strengths": {}}'),
        '{"fonts": {"a": {"read": 1}}, "strengths": {"1": {"read": true}}, "fonts_judged_at": 1}',
        '{"fonts": {"a": {"read": true}}, "strengths": {"nan": {"read": true}, '
        '"1": {"read": true}}, "fonts_judged_at": 1}',
        '{"fonts": {"a": true}, "strengths": {"1": {"read": true}}, "fonts_judged_at": 1}',
        '{"fonts": {}, "strengths": {"much": {"read": true}}, "fonts_judged_at": 1}',
        '{"fonts": {}, "strengths": {"1": {"read": true}}}',
        '{"fonts": {}, "strengths": {"1": {"read": true}}, "fonts_judged_at": 2}',
    ],
)
def test_what_is_no_verdict_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"v.json: not what check_fonts.py --out writes") as error:
        Verdict.read(tmp_path / "v.json")
    assert "\n" not in str(error.value)


def test_a_reader_that_answers_too_little_is_refused(made: Studio) -> None:
    with pytest.raises(ValueError, match="0 answers to"):
        reading_rates(made, lambda images: [], (1.0,), 3)
