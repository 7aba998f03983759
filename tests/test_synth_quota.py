"""How many images each class gets, by hand-made sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.quota import (
    OTHER_PER_KNOWN,
    group_of,
    plan_quota,
    read_quota,
    real_counts,
    write_quota,
)
from synth.store import Sample, Store, StoreWriter

ABC = Alphabet.of("ABCD")


def test_groups() -> None:
    assert [group_of(n) for n in (0, 1, 9, 10, 49, 50, 999)] == [
        *("none", "few", "few", "rare", "rare", "common", "common")
    ]


def test_classes_are_filled_up_to_twice_the_median_and_get_half_of_it_at_least() -> None:
    real = {"A": 100, "B": 80, "C": 20, "D": 0, "other": 5}
    quota = plan_quota(ABC, real, None, None, None)
    assert quota.target == 160  # the median class that is there has 80
    assert quota.lacking == {"A": 80, "B": 80, "C": 140, "D": 160}
    assert quota.other == round(1.2 * 460)
    assert quota.real == real


def test_a_target_of_the_user_and_a_least_target() -> None:
    assert plan_quota(ABC, {"A": 9}, None, None, None).target == 100
    quota = plan_quota(ABC, {"A": 30, "B": 3}, None, 40, 7)
    assert (quota.lacking, quota.other) == ({"A": 20, "B": 37, "C": 40, "D": 40}, 7)


def test_without_real_data() -> None:
    quota = plan_quota(ABC, None, None, None, None)
    assert (quota.target, quota.real) == (200, {})
    assert set(quota.lacking.values()) == {200} and quota.other == round(OTHER_PER_KNOWN * 800)


def test_a_number_for_every_class() -> None:
    quota = plan_quota(ABC, {"A": 500}, 50, None, 0)
    assert (quota.lacking, quota.other) == (dict.fromkeys("ABCD", 50), 0)


@pytest.mark.parametrize("name", ["per-class", "target", "other"])
def test_negative_numbers_are_errors(name: str) -> None:
    numbers = {"per-class": None, "target": None, "other": None} | {name: -1}
    with pytest.raises(InputError, match=f"--{name} -1"):
        plan_quota(ABC, None, *numbers.values())


def test_real_counts_are_of_training_images_alone(tmp_path: Path) -> None:
    rows = [("A", "train")] * 3 + [("A", "val")] * 2 + [("other", "train")] + [("C", "test")]
    with StoreWriter(tmp_path / "store", Canvas(8, 1), ABC, {}) as writer:
        images = np.zeros((len(rows), 8, 8), np.uint8)
        writer.append(images, [Sample(label, label, "real", split) for label, split in rows])
    counts = real_counts(Store.open(tmp_path / "store"))
    assert counts == {"A": 3, "B": 0, "C": 0, "D": 0, "other": 1}


def test_the_table_adds_up() -> None:
    real = {"A": 100, "B": 60, "C": 12, "D": 0, "other": 5}
    lines = plan_quota(ABC, real, None, 100, 40).table().splitlines()
    assert lines[0].split() == ["group", "classes", "real", "to", "make", "a", "class"]
    assert [line.split() for line in lines[1:]] == [
        ["common", "2", "160", "100", "50"],
        ["rare", "1", "12", "88", "88"],
        ["none", "1", "0", "100", "100"],
        ["other", "1", "5", "40"],
    ]
    assert len({len(line) for line in lines[:-1]}) == 1


def test_a_quota_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path, odd = tmp_path / "quota.csv", Alphabet.of('A,"永')
    write_quota(path, {"A": 5, ",": 0, '"': 7, "other": 9})
    quota = read_quota(path, odd, {"A": 30, "other": 2})
    assert quota.lacking == {"A": 5, ",": 0, '"': 7, "永": 0} and quota.other == 9
    assert quota.real == {"A": 30, ",": 0, '"': 0, "永": 0, "other": 2} and quota.target == 35
    assert read_quota(path, odd, None).real == {}


@pytest.mark.parametrize(
    "rows, why",
    [
        ("A,1\nZ,2", r"line 3: 'Z' is no class of the alphabet"),
        ("A,1\nB,-2", r"line 3: '-2' is no number of images"),
        ("A,1.5", r"line 2: '1\.5' is no number"),
        ("A,", "line 2: '' is no number"),
        ("A,٣", "line 2: '٣' is no number"),
        ("A,1\nB,1\nA,2", "line 4: 'A' is there twice"),
        ("other,1\nother,1", "line 3: 'other' is there twice"),
        ("A,1,2", "line 2: 3 fields, not 2"),
        ("AB,1", "line 2: label 'AB' is not one character"),
        ("A,0\nother,0", "it asks for no image"),
        ("", "it asks for no image"),
        ('"A,1', "no quota file"),
    ],
)
def test_a_bad_quota_file_is_refused_in_one_line(tmp_path: Path, rows: str, why: str) -> None:
    path = tmp_path / "quota.csv"
    path.write_text(f"label,images\n{rows}\n", encoding="utf-8")
    with pytest.raises(InputError, match=why) as error:
        read_quota(path, ABC, None)
    assert "\n" not in str(error.value)


def test_what_is_no_quota_file_at_all(tmp_path: Path) -> None:
    for name, data in (("head.csv", b"A,1\n"), ("empty.csv", b""), ("bytes.csv", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}"):
            read_quota(tmp_path / name, ABC, None)
    with pytest.raises(InputError, match="no quota file"):
        read_quota(tmp_path / "gone.csv", ABC, None)
