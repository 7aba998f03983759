"""Any text as a label ends in one visible character or a reason, the same however it is written."""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

import pytest
from bad_cases import tried
from conftest import draw_strokes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synth.alphabet import OTHER, Alphabet, clean_label
from synth.canvas import Canvas
from synth.class_names import ClassNames
from synth.corpus import import_images
from synth.errors import InputError
from synth.store import Store

FEW, MANY = 100, 600
# lone surrogates, private and unassigned code points too
ANY_CHARACTER = st.characters(exclude_categories=())
MARKS = st.sampled_from("\u0301\u0308\u3099\u309a\u0327\u20dd\u0e31\u093f\ufe0f\U000e0100\ufe00")
# invisible or directing, no character, a file system's own, and several forms of one character
TRICKS = st.sampled_from(
    [
        *("\u200b", "\u200d", "\u200e", "\u200f", "\u202e", "\u2066", "\ufeff", "\x00", "\x1b"),
        *("\ud800", "\udfff", "\ue000", "\U000f0000", "\uffff", " ", "\u3000", "\xa0", "\t", "\n"),
        *("/", "\\", "..", "C:", "CON", "other", "Other"),
        *("永", "Å", "\u212b", "A\u030a", "が", "か\u3099", "豈"),
    ]
)
LABELS = st.lists(st.one_of(TRICKS, MARKS, ANY_CHARACTER), max_size=4).map("".join)


def cleaned(text: str) -> str | None:
    try:
        return clean_label(text)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        str(error).encode()  # it can be printed: no lone surrogate in it
        return None


def holds(text: str) -> None:
    tried(__name__, text)
    label = cleaned(text)
    if label is None or label == OTHER:
        return
    assert label == unicodedata.normalize("NFC", label)
    assert label.encode()
    assert cleaned(label) == label
    bases = [c for c in label if not unicodedata.category(c).startswith("M")]
    assert len(bases) == 1 and unicodedata.category(bases[0])[0] not in "CZ"
    for form in ("NFC", "NFD"):
        assert cleaned(unicodedata.normalize(form, text)) == label
    assert cleaned(f"\ufeff {text}\n") == label
    assert Alphabet.of([label, text]).chars == (label,)


@given(LABELS)
@example("永\u0301\ufe0f\u3099")  # a selector between two marks
@example("\ufeff \ufeff永")
@settings(max_examples=FEW, deadline=None)
def test_any_label(text: str) -> None:
    holds(text)


@pytest.mark.slow
@given(LABELS)
@settings(max_examples=MANY, deadline=None, derandomize=False)
def test_many_labels(text: str) -> None:
    holds(text)


@given(st.binary(max_size=60) | LABELS.map(lambda t: t.encode("utf-8", "surrogatepass")))
@settings(
    max_examples=FEW, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_alphabet_file(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "alphabet.txt"
    tried(__name__, data)
    file.write_bytes(data)
    for read in (Alphabet.read, lambda path: ClassNames.read(str(path))):
        with contextlib.suppress(InputError):
            read(file)


@given(st.lists(LABELS, min_size=1, max_size=4))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_folder_names(tmp_path_factory: pytest.TempPathFactory, labels: list[str]) -> None:
    """What the file system takes is imported under its clean label, or refused by name."""
    tried(__name__, labels)
    top = tmp_path_factory.mktemp("data")
    images, wanted = top / "images", set()
    images.mkdir()
    for seed, label in enumerate(labels):
        name = label.replace("/", "")
        if name in ("", ".", ".."):
            continue  # no name of a folder: the image would lie elsewhere
        try:
            folder = images / name
            folder.mkdir(parents=True, exist_ok=True)
            draw_strokes(seed).save(folder / f"{seed}.png")
            wanted.add(cleaned(folder.name))
        except (OSError, ValueError):
            continue  # the file system refuses it
    try:
        store = import_images(images, top / "out", None, Canvas(), val_share=0)
    except InputError as error:
        assert "\n" not in str(error)
        assert sorted(p.name for p in top.iterdir() if p.name != "images") == []
        return
    assert isinstance(store, Store) and set(store.column("label")) <= wanted
