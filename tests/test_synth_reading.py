"""Reading rates: what is counted, and which fonts and strengths are named."""

from __future__ import annotations

import numpy as np
import pytest

from synth import studio
from synth.alphabet import Alphabet
from synth.fonts import find_fonts
from synth.reading import Rates, reading_rates
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


def test_what_is_not_read_is_named() -> None:
    right = np.array([[9, 8], [1, 2], [9, 3], [0, 0]])
    shown = np.array([[10, 10], [10, 10], [10, 10], [0, 0]])
    rates = Rates(("good", "bad", "middling", "unasked"), (0.5, 2.0), right, shown)
    assert rates.unread_fonts(0.5) == ["bad"]
    assert rates.unread_strengths(0.6) == [2.0]  # 11 of 20 of the fonts that are read
    assert rates.unread_strengths(0.5) == [] and rates.unread_fonts(0.0) == []
    assert np.isnan(rates.share[3]).all()


def test_a_reader_that_answers_too_little_is_refused(made: Studio) -> None:
    with pytest.raises(ValueError, match="0 answers to"):
        reading_rates(made, lambda images: [], (1.0,), 3)
