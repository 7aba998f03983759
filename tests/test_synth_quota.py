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


def test_where_nobody_asks_for_a_target_nothing_lacks(tmp_path: Path) -> None:
    """A number for every class, or a quota file: a usual target would be nobody's."""
    (tmp_path / "quota.csv").write_text("label,images\nA,50\n")
    real = {"A": 500, "B": 3}
    for quota in (
        plan_quota(ABC, real, 50, None, 0),
        plan_quota(ABC, None, 50, None, 0),
        read_quota(tmp_path / "quota.csv", ABC, real),
    ):
        assert quota.target is None and quota.lacks("A") is None
        notes = quota.notes()
        assert "target" not in notes
        assert notes["classes"]["A"] == {"real": quota.real.get("A", 0), "planned": 50}
        head, *lines = quota.table().splitlines()
        assert head.split() == ["group", "classes", "real", "to", "make", "a", "class"]
        assert [line.split()[0] for line in lines][-1] == "other"
        assert len({len(line) for line in [head, *lines[:-1]]}) == 1
    rows = [line.split() for line in plan_quota(ABC, real, 50, None, 7).table().splitlines()]
    assert ["common", "1", "500", "50", "50"] in rows and ["other", "1", "0", "7"] in rows


def test_a_target_beside_a_number_for_every_class_says_what_lacks() -> None:
    quota = plan_quota(ABC, {"A": 500, "B": 3}, 50, 80, 0)
    assert quota.notes()["classes"]["B"] == {"real": 3, "lacking": 77, "planned": 50}
    assert ["few", "1", "3", "77", "50", "50"] in [x.split() for x in quota.table().splitlines()]


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
    assert lines[0].split() == [
        *("group", "classes", "real", "lacking", "to", "make", "a", "class")
    ]
    assert [line.split() for line in lines[1:]] == [
        ["common", "2", "160", "40", "100", "50"],
        ["rare", "1", "12", "88", "88", "88"],
        ["none", "1", "0", "100", "100", "100"],
        ["other", "1", "5", "40"],
    ]
    assert len({len(line) for line in lines[:-1]}) == 1


def test_the_median_class_as_the_target() -> None:
    quota = plan_quota(ABC, {"A": 90, "B": 30, "C": 7}, None, "median", 0)
    assert quota.target == 30  # of the classes that are there
    assert quota.lacking == {"A": 15, "B": 15, "C": 23, "D": 30}
    for real in (None, {}, {"other": 9}):
        with pytest.raises(InputError, match="--target median: no class has real images"):
            plan_quota(ABC, real, None, "median", 0)


@pytest.mark.parametrize("cap", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_the_cap_bounds_the_synthetic_share_and_leaves_no_room(cap: float) -> None:
    real = {"A": 1, "B": 37, "C": 400, "other": 11}
    free = plan_quota(ABC, real, None, 500, 900)
    quota = plan_quota(ABC, real, None, 500, 900, cap)
    made = {**quota.lacking, "other": quota.other}
    for label, wanted in {**free.lacking, "other": 900}.items():
        n = real.get(label, 0)
        if not n:  # it would get none
            assert made[label] == wanted
            continue
        assert made[label] <= wanted and made[label] <= cap * (made[label] + n) + 1e-6
        if made[label] < wanted:
            assert made[label] + 1 > cap * (made[label] + 1 + n)
    assert quota.capped == sum(made[c] < n for c, n in {**free.lacking, "other": 900}.items()) > 0


def test_the_cap_in_the_table_and_by_default() -> None:
    real = {"A": 5, "B": 100, "other": 10}
    quota = plan_quota(ABC, real, None, 200, None, 0.9)
    assert quota.lacking == {"A": 45, "B": 100, "C": 200, "D": 200}
    assert quota.other == 90  # 1.2 x 545 is more
    last = quota.table().splitlines()[-1]
    assert last == (
        "at most 90 % of a class synthetic: 2 classes get fewer; 2 without a real image are not "
        "bound"
    )
    assert plan_quota(ABC, real, None, 200, None).lacking["A"] == 195
    assert plan_quota(ABC, real, None, 200, None, 1.0).lacking["A"] == 195


@pytest.mark.parametrize("cap", [-0.1, 1.1, float("nan")])
def test_a_cap_that_is_no_share_is_an_error(cap: float) -> None:
    with pytest.raises(InputError, match=rf"^--cap {cap}: a share from 0 to 1$"):
        plan_quota(ABC, {"A": 1}, None, None, None, cap)
    with pytest.raises(InputError, match="--cap: a share of real and synthetic images"):
        plan_quota(ABC, None, None, None, None, 0.5)


def test_the_notes_say_of_each_class_what_is_real_lacks_and_is_made() -> None:
    notes = plan_quota(ABC, {"A": 60, "B": 90, "other": 3}, None, 100, 40, 0.25).notes()
    assert notes == {
        "target": 100,
        "other": 1,
        "cap": 0.25,
        "classes": {
            "A": {"real": 60, "lacking": 40, "planned": 20},
            "B": {"real": 90, "lacking": 10, "planned": 30},
            "C": {"real": 0, "lacking": 100, "planned": 100},
            "D": {"real": 0, "lacking": 100, "planned": 100},
            "other": {"real": 3, "planned": 1},
        },
    }


def test_a_quota_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path, odd = tmp_path / "quota.csv", Alphabet.of('A,"永')
    write_quota(path, {"A": 5, ",": 0, '"': 7, "other": 9})
    quota = read_quota(path, odd, {"A": 30, "other": 2})
    assert quota.lacking == {"A": 5, ",": 0, '"': 7, "永": 0} and quota.other == 9
    assert quota.real == {"A": 30, ",": 0, '"': 0, "永": 0, "other": 2}
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
