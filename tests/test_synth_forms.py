"""Two forms of one character (為, 爲), where so many fonts draw the other that they agree on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_synth_fonts import build_font, letter
from test_synth_likeness import coverages_of, level_1

from synth import checks
from synth.alphabet import Alphabet
from synth.fonts import Coverage
from synth.likeness import Atlas, build_atlas
from synth.variants import variant_pairs, variants_of
from synth.vote import outvoted

# seven of the project's fonts have both, and draw each its own
PAIRS = "關関 圖図 國国 來来 會会 學学 發発 體体 氣気 榮栄 壓圧 圓円 應応 醫医 悅悦"
SEVEN = (
    *("inkfill-sub-a", "inkfill-sub-b", "inkfill-sub-c", "klee-one", "kouzan-brush"),
    *("yomogi", "zen-kurenaido"),
)
Forms = list[tuple[str, str]]


@pytest.fixture(scope="module")
def chars() -> list[str]:
    return sorted({*level_1(16), *PAIRS} - {" "})


@pytest.fixture(scope="module")
def forms(chars: list[str]) -> Forms:
    return variant_pairs(chars)


@pytest.fixture(scope="module")
def coverages(chars: list[str]) -> list[Coverage]:
    return coverages_of(chars)


@pytest.fixture(scope="module")
def atlas(coverages: list[Coverage], chars: list[str]) -> Atlas:
    return build_atlas(coverages, chars)


def named(coverages: Sequence[Coverage], one: str, two: str) -> list[str]:
    return [c.font.name for c in coverages if c.rejected.get(one) == f"drawn as {two}"]


def drawing(atlas: Atlas, fonts: Sequence[str], pairs: Forms, share: float = 1) -> Atlas:
    """These fonts draw the first of each pair as the second; `share`: so far on the way to it."""
    features = atlas.features.copy()
    rows = [f for f, file in enumerate(atlas.fonts) if file.name in fonts]
    for one, two in pairs:
        a, b = atlas.chars.index(one), atlas.chars.index(two)
        assert atlas.has[rows][:, [a, b]].all()
        features[rows, a] += np.float16(share) * (features[rows, b] - features[rows, a])
    return replace(atlas, features=features)


@pytest.mark.parametrize("pair", [("国", "國"), ("来", "來"), ("関", "關"), ("關", "関")])
def test_what_a_third_of_the_fonts_draw_is_no_consensus_of_their_own(
    pair: tuple[str, str], coverages: list[Coverage], atlas: Atlas, forms: Forms
) -> None:
    there, both = (atlas.has[:, [atlas.chars.index(c) for c in cs]] for cs in (pair[0], pair))
    wrong = [atlas.fonts[f].name for f in np.flatnonzero(both.all(1))][: there.sum() // 3]
    assert len(wrong) >= 2
    changed = drawing(atlas, wrong, [pair])
    found = outvoted(coverages, changed, [pair[0]], forms)
    assert named(found, *pair) == wrong
    assert found == outvoted(coverages, changed, [pair[0]], [(b, a) for a, b in reversed(forms)])
    # without word that they are forms of one another, the wrong ones are a consensus
    assert named(outvoted(coverages, changed, [pair[0]]), *pair) == []


@pytest.mark.parametrize(
    ("fonts", "why"),
    [
        (("inkfill-sub-a", "inkfill-sub-b", "inkfill-sub-c", "klee-one"), "half of them"),
        (SEVEN, "all that have both"),
    ],
)
def test_where_most_fonts_draw_both_alike_none_is_refused_for_it(
    fonts: tuple[str, ...], why: str, coverages: list[Coverage], atlas: Atlas, forms: Forms
) -> None:
    pairs = [("關", "関"), ("氣", "気"), ("榮", "栄"), ("壓", "圧"), ("應", "応")]
    changed, asked = drawing(atlas, fonts, pairs), [one for one, _ in pairs]
    with_forms = outvoted(coverages, changed, asked, forms)
    assert with_forms == outvoted(coverages, changed, asked), why


def test_a_font_that_draws_two_pictures_draws_two_forms(
    coverages: list[Coverage], atlas: Atlas, forms: Forms
) -> None:
    """Both its glyphs stand further on than those of others: a style of writing, not a form."""
    pair, back = ("關", "関"), ("関", "關")
    one_form = drawing(atlas, ["yomogi"], [pair], 0.85)
    two_forms = drawing(one_form, ["yomogi"], [back], -3)
    for changed, expected in ((one_form, ["yomogi"]), (two_forms, [])):
        assert named(outvoted(coverages, changed, ["關"], forms), *pair) == expected


def test_where_fonts_stand_in_the_middle_the_line_shows_a_style(
    coverages: list[Coverage], atlas: Atlas, forms: Forms
) -> None:
    """Two heaps with nothing between them are two forms; a row from one to the other is not."""
    pair = ("關", "関")
    wrong = ("inkfill-sub-a", "inkfill-sub-b")
    heaps = drawing(atlas, wrong, [pair])
    row = drawing(heaps, ("inkfill-sub-c", "klee-one"), [pair], 0.45)
    assert set(named(outvoted(coverages, heaps, ["關"], forms), *pair)) == {*wrong}
    assert named(outvoted(coverages, row, ["關"], forms), *pair) == []


def test_as_drawn_hardly_a_glyph_more_is_refused(
    coverages: list[Coverage], atlas: Atlas, forms: Forms
) -> None:
    before, after = outvoted(coverages, atlas), outvoted(coverages, atlas, forms=forms)
    assert len(forms) > 15
    for one, two in zip(before, after, strict=True):
        assert one.rejected.items() <= two.rejected.items()
        assert two.usable == one.usable - two.rejected.keys()
    assert sum(len(two.usable) for two in after) >= sum(len(one.usable) for one in before) - 2


def test_the_checks_of_fonts_know_the_forms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Forms] = []

    def spy(found: list[Coverage], atlas: Atlas, asked: list[str], forms: Forms) -> list[Coverage]:
        seen.append(forms)
        return outvoted(found, atlas, asked, forms)

    monkeypatch.setattr(checks, "outvoted", spy)
    made = build_font(tmp_path / "made.ttf", {c: letter(i) for i, c in enumerate("永國国学")})
    checks.check(Alphabet.of("永國"), [made], None, 0, 100, seed=1)
    assert seen == [[("国", "國")]]


def test_pairs_are_forms_of_one_character_and_stand_once() -> None:
    chars = [*"为為爲国國永Aé1", "\ufa0c", "兀", "例", "\uf9b5", "AB"]
    found = variant_pairs(chars)
    assert found == sorted({*found}) and all(one < two for one, two in found)
    assert {("为", "為"), ("为", "爲"), ("為", "爲"), ("国", "國")} == {*found}
    for one, two in found:
        assert variants_of(one, [two]) or variants_of(two, [one])
    assert variant_pairs(reversed(chars)) == found
    assert variant_pairs([]) == [] == variant_pairs("永A")


def test_without_another_character_there_is_no_variant() -> None:
    assert variants_of("為國", "為") == frozenset()
