"""Labels are one user-visible character; an alphabet has one order and one digest."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.alphabet import OTHER, Alphabet, clean_label, name_of
from synth.errors import InputError
from synth.grouping import rows_by


@pytest.mark.parametrize(
    ("given_text", "label"),
    [
        ("永", "永"),
        ("  永\n", "永"),
        ("\ufeff永", "永"),
        ("other", OTHER),
        (" other ", OTHER),
        (unicodedata.normalize("NFD", "é"), "é"),
        (unicodedata.normalize("NFD", "が"), "が"),
        (unicodedata.normalize("NFD", "한"), "한"),
        ("x\u0323\u0301", "x\u0323\u0301"),  # no single code point for it
        ("का", "का"),  # a vowel sign whose combining class is 0
        ("葛\U000e0100", "葛"),  # ideographic variation selector
        ("☺\ufe0f", "☺"),
        ("\uf900", "豈"),  # compatibility ideograph
        ("𠀀", "𠀀"),  # beyond the basic plane
        ("/", "/"),
    ],
)
def test_clean_label(given_text: str, label: str) -> None:
    assert clean_label(given_text) == label
    assert clean_label(label) == label


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  \t", "empty"),
        ("\ufe0f", "empty"),
        ("永國", "not one character"),
        ("Other", "not one character"),
        ("\u0301", "not one character"),
        ("a\u200b", "U+200B"),
        ("a\u0000", "U+0000"),
        ("\ue000", "U+E000"),
        ("\udc80", "U+DC80"),
    ],
)
def test_bad_labels_say_why(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("+", r"\+")):
        clean_label(text)


@given(st.characters(min_codepoint=33, exclude_categories=("C", "Z", "M")))
def test_every_normal_form_of_a_character_is_one_class(char: str) -> None:
    forms = {clean_label(unicodedata.normalize(form, char)) for form in ("NFC", "NFD")}
    assert len(forms) == 1


def test_alphabet_order_classes_and_index() -> None:
    alphabet = Alphabet.of(["國", "永", OTHER, "永", "A"])
    assert alphabet.chars == ("A", "國", "永")
    assert alphabet.classes == ("A", "國", "永", OTHER)
    assert alphabet.index() == {"A": 0, "國": 1, "永": 2, OTHER: 3}
    assert len(alphabet) == 3
    assert "永" in alphabet
    assert OTHER not in alphabet


def test_digest_depends_on_the_characters_alone() -> None:
    assert Alphabet.of("永國").digest == Alphabet.of("國永永").digest
    assert Alphabet.of("永國").digest != Alphabet.of("永國三").digest
    assert Alphabet.of("ab").digest == hashlib.sha256(b"a\nb").hexdigest()[:12]


def test_alphabet_refuses_another_order_and_nothing() -> None:
    with pytest.raises(ValueError, match="order"):
        Alphabet(("永", "國"))
    with pytest.raises(InputError, match="empty"):
        Alphabet.of([OTHER])


def test_read_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "alphabet.txt"
    file.write_bytes("\ufeff永\r\n\r\n國\r\n other \r\ne\u0301".encode())
    assert Alphabet.read(file).chars == ("é", "國", "永")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("永\n國三\n".encode(), r"alphabet\.txt, line 2: .*'國三'"),
        ("永\n\na\u200b\n".encode(), "line 3"),
        (b"\n \n", "no character in it"),
        (b"other\n", "no character in it"),
        (b"", "no character in it"),
        ("永".encode("big5"), "not a UTF-8 text file"),
    ],
)
def test_read_names_file_and_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "alphabet.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        Alphabet.read(file)
    assert str(file) in str(caught.value)


def test_read_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such alphabet file"):
        Alphabet.read(tmp_path / "none.txt")
    with pytest.raises(InputError, match="not a UTF-8 text file"):
        Alphabet.read(tmp_path)


def test_what_is_in_an_alphabet_is_found_at_both_ends_and_between() -> None:
    alphabet = Alphabet.of("がZA永")
    assert all(char in alphabet for char in "がZA永")
    for label in ("", OTHER, "B", "か", "龍", "永國", "0"):
        assert label not in alphabet


def test_a_large_alphabet_is_asked_in_no_time() -> None:
    """Exports and quotas ask for every image: 20,000 comparisons each would take minutes."""
    alphabet = Alphabet.of(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    start = time.process_time()
    assert not any("龍國" in alphabet for _ in range(20_000))
    assert time.process_time() - start < 1


def test_rows_by_label_are_the_places_of_each_in_order() -> None:
    labels = np.array(["永", OTHER, "A", "永", "A", "永"], object)
    found = {label: rows.tolist() for label, rows in rows_by(labels).items()}
    assert found == {"永": [0, 3, 5], OTHER: [1], "A": [2, 4]}
    assert rows_by(labels[:0]) == {}


@pytest.mark.parametrize("label", [*'/\\.:*?"<>|', "A", "永", "other"])
def test_a_label_comes_back_from_the_name_of_a_file(label: str) -> None:
    name = name_of(label)
    assert clean_label(name) == label
    assert not set(name) & set('/\\.:*?"<>|')


@pytest.mark.parametrize("label", ["U+D800", "U+0020", "U+110000", "U+41", "U+"])
def test_a_code_point_that_is_no_character_is_no_label(label: str) -> None:
    with pytest.raises(InputError):
        clean_label(label)
