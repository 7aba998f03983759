"""What a study finds: figures of runs, tables, harm, the page."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_classifier_study import SMALL, read

from classifier.finished import Answers
from classifier.scoring import accuracy_by_group
from classifier.study import results
from classifier.study.estimates import difference, gap_closed
from classifier.study.grid import Study
from classifier.study.harm import harms
from classifier.study.intervals import signs
from classifier.study.page import write_page
from classifier.study.plan import plan
from classifier.study.results import Row, closed, labels
from classifier.study.runner import Runner
from classifier.study.tables import tables


def rows(study: Study, seed: int = 0) -> list[Row]:
    """Made up: `half` closes 60 % of the gap of "few" and costs three points on common characters.
    Without "other" as an answer it closes 80 %."""
    rng = np.random.default_rng(seed)
    few = {"real": 0.5, "few20": 0.7, "half": 0.74, "raw": 0.6, "oracle": 0.9}
    found = []
    for t in plan(study, Path("out"))[1]:
        noise = rng.normal(0, 0.002, 5)
        figures = {
            "common": 0.95 - 0.03 * (t.arm == "half") + noise[0],
            "few": few[t.arm] + noise[1],
            closed("few"): few[t.arm] + 0.08 * (t.arm == "half") + noise[4],
            "macro_f1": 0.8 + noise[2],
            "ece": 0.05 - 0.02 * (t.arm == "half") + noise[3],
            "minutes": 2.5,
            "real": 30,
            labels("right", "few"): 20.0 if t.arm == "few20" else 2.7,
            labels("wrong", "few"): 1.5,
        }
        found.append(Row(t.data, t.arm, t.scenario_seed, t.training_seed, figures))
    return found


SIX = {"scenario_seeds": [1], "training_seeds": [1, 2, 3, 4, 5, 6]}


def test_tables_say_what_was_put_in(tmp_path: Path) -> None:
    study = read(tmp_path, **SIX)
    made = rows(study)
    for figure, true in (("few", 0.6), (closed("few"), 0.8)):
        gap = gap_closed(made, "half", "real", "oracle", figure)
        assert gap.low < gap.mean < gap.high and abs(gap.mean - true) < 0.01
        assert gap.high - gap.low < 0.05
    assert signs([difference(made, "half", "real", "common")]) == [-1]
    of = {table.title: table for table in tables(study, made, "d")}
    assert len(of) == 5
    [differences] = [t for title, t in of.items() if "difference" in title]
    marks = {
        line[0].text: dict(zip(differences.head, (c.sign for c in line), strict=True))
        for line in differences.lines
    }
    # less of a calibration error is better
    half = marks["half"]
    assert (half["common"], half["few"], half["calibration error"]) == (-1, 1, 1)
    assert half["few, closed set"] == 1 and half["macro F1"] == marks["raw"]["common"] == 0
    [gaps] = [t for title, t in of.items() if "gap" in title]
    few = "few, 3 real images a class (2.7 right, 1.5 wrong)"
    assert gaps.head == ("arm", few, f"{few}; closed set")
    [worth] = [t for title, t in of.items() if "worth" in title]
    assert "3 (2.7 right, 1.5 wrong), 20 (20.0 right, 1.5 wrong), 100 (2.7" in worth.title
    number, without = (float(cell.text.split(" (")[0]) for cell in worth.lines[0][2:])
    assert 20 < number + 3 < 30 < 50 < without + 3 < 60  # .74 and .82 lie above the .70 of 20
    assert worth.lines[0][1].text == "3 (2.7 right, 1.5 wrong)"
    [costs] = [t for title, t in of.items() if "cost" in title]
    filed = {line[0].text: line[-1].text for line in costs.lines}
    assert filed["real only"] == "2.7 + 1.5" and filed["few20"] == "20.0 + 1.5"
    [line, _] = harms(study, made)
    assert "half: common -3" in line and line.endswith("against real only")


def test_further_baselines_have_gaps_of_their_own(tmp_path: Path) -> None:
    arms = {
        "real": {},
        "oracle": {"images": {"few": 9}},
        "clean": {"noise": 0},
        "clean_half": {"noise": 0, "stores": ["half"]},
        "clean_oracle": {"noise": 0, "images": {"few": 9}},
    }
    compare = {"baseline": "real", "gap": ["few"], "gaps": {"clean": "clean_oracle"}}
    study = read(tmp_path, arms=arms, compare=compare | {"oracle": "oracle"}, **SIX)
    few = dict(zip(arms, (0.1, 0.2, 0.5, 0.6, 0.7), strict=True))
    made = made_up(study, few)
    [gap] = [t for t in tables(study, made, "d") if "gap" in t.title]
    assert "between clean and clean_oracle" in gap.title
    assert [line[0].text for line in gap.lines] == ["clean_half"]
    assert gap.lines[0][1].text.startswith("50 % (")


def made_up(study: Study, few: dict[str, float]) -> list[Row]:
    """Accuracies of few by arm, the means exact."""
    rng, found = np.random.default_rng(0), []
    trained = plan(study, Path("out"))[1]
    for arm, mean in few.items():
        mine = [t for t in trained if t.arm == arm]
        noise = rng.normal(0, 0.001, len(mine))
        noise -= noise.mean()
        for t, x in zip(mine, noise.tolist(), strict=True):
            found.append(Row(t.data, arm, t.scenario_seed, t.training_seed, {"few": mean + x}))
    return found


def test_harm_is_measured_against_the_same_real_images(tmp_path: Path) -> None:
    """Fonts for characters without a real image do worse than five images, and no harm."""
    cut = {"images": {"few": 0}}
    arms = {
        "real": {},
        "few0": cut,
        "few0_strong": cut | {"options": "--augment-strength 2"},
        "few0_fonts": cut | {"stores": ["font"]},
        "few0_fonts_strong": cut | {"stores": ["font"], "options": "--augment-strength 2"},
        "noise0_fonts": {"noise": 0, "stores": ["font"]},
    }
    study = read(tmp_path, arms=arms, compare={"baseline": "real"}, **SIX)
    made = made_up(study, dict(zip(arms, (0.5, 0.1, 0.3, 0.2, 0.2, 0.4), strict=True)))
    # better than few0, worse than few0_strong; without an arm of the same noise nothing is said
    [line, least] = harms(study, made)
    assert "few0_fonts_strong: few -10" in line and line.endswith("against few0_strong")
    assert least.startswith("Looked for in 2 comparisons") and "6 scenarios or training" in least


def test_what_one_run_cannot_tell_is_not_told_as_harmless(tmp_path: Path) -> None:
    """A single run has no interval; the page said that no arm is worse."""
    arms = {"real": {}, "strong": {}, "font": {"stores": ["font"]}, "half": {"stores": ["half"]}}
    study = read(tmp_path, arms=arms, compare={"baseline": "real"})

    def lines(**runs: int) -> list[str]:
        few = {"real": 0.5, "font": 0.1, "half": 0.5}
        made = [
            Row("d", arm, 1, seed, {"few": few[arm] + 0.001 * np.cos(9 * seed + ord(arm[0]))})
            for arm, number in runs.items()
            for seed in range(number)
        ]
        page = write_page(study, made, tmp_path / "page", wanted=9)[1].read_text("utf-8")
        found = harms(study, made)
        assert all(f"- {line}\n" in page for line in found)
        return found

    of_one = "d: {}: not known: one run against real"
    assert lines(real=1, font=1, half=1) == [of_one.format("font"), of_one.format("half")]
    sure = "arm with synthetic images is worse than the one without them by more than chance"
    one, none, least = lines(real=3, font=1, half=3)
    assert one == of_one.format("font") and none.startswith(f"No other {sure}")
    assert least.startswith("Looked for in 1 comparisons, together at 5 % (Holm)")
    assert lines(real=3, half=3)[0].startswith(f"No {sure}")
    worse, one, _ = lines(real=3, font=3, half=1)
    assert worse.startswith("d: font: few -4") and worse.endswith(" points against real")
    assert one == of_one.format("half")
    [none] = lines(real=2)
    assert none.startswith("Not known: no arm")


def test_chance_over_many_comparisons_is_not_called_harm(tmp_path: Path) -> None:
    """Arms that differ from the baseline by nothing, in seven figures."""
    arms = {"real": {}} | {f"arm{i}": {"stores": ["font"]} for i in range(6)}
    study = read(tmp_path, arms=arms, compare={"baseline": "real"}, scenario_seeds=[1])
    names = ["common", "few", "other_unseen", closed("common"), closed("few"), "macro_f1", "ece"]
    by_interval = called = marked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        made = [
            Row("d", t.arm, 1, t.training_seed, {n: rng.normal(0.5, 0.01) for n in names})
            for t in plan(study, Path("out"))[1]
        ]
        every = [difference(made, a, "real", n) for a in arms if a != "real" for n in names]
        by_interval += any(e.high < 0 for e in every)
        called += not harms(study, made)[0].startswith("No arm")
        [table] = [t for t in tables(study, made, "d") if "difference" in t.title]
        marked += any(cell.sign for line in table.lines for cell in line)
    assert by_interval > 10 and called <= 6 and marked <= 6


def test_harm_is_measured_against_an_arm_that_the_data_has(tmp_path: Path) -> None:
    """Not the baseline, where this data leaves it out."""
    arms = {"real": {}, "strong": {}, "font": {"stores": ["font"]}}
    data = SMALL["data"]["d"] | {"arms": ["strong", "font"]}
    study = read(tmp_path, arms=arms, data={"d": data}, compare={"baseline": "real"}, **SIX)
    [line, _] = harms(study, made_up(study, {"strong": 0.5, "font": 0.1}))
    assert line.startswith("d: font: few -40.0 ± 0.") and line.endswith(" points against strong")


def test_pairs_are_compared_and_not_means(tmp_path: Path) -> None:
    """A run that the baseline lacks must not shift the difference."""
    study = read(tmp_path)
    made = [r for r in rows(study) if not (r.arm == "real" and r.training_seed == 3)]
    outlier = next(i for i, r in enumerate(made) if r.arm == "half" and r.training_seed == 3)
    made[outlier] = Row(*made[outlier].pair[:1], "half", *made[outlier].pair[1:], {"few": 0.0})
    found = difference(made, "half", "real", "few")
    assert found.n == 2 and found.mean == pytest.approx(0.24, abs=0.01)


def test_the_page_holds_everything_and_says_what_is_missing(tmp_path: Path) -> None:
    data = SMALL["data"]["d"] | {"classifier": "--steps 3000"}
    study = read(tmp_path, note="A <note>.", data={"d": data})
    made = rows(study)[:-7]
    files = write_page(study, made, tmp_path / "page", wanted=30)
    html, markdown, lines = (f.read_text("utf-8") for f in files[:3])
    [overview] = files[3:]
    assert overview.name == "d_overview.png" and overview.name not in markdown
    with Image.open(overview) as few, Image.open(overview.with_name("d_arms.png")) as whole:
        assert few.width * few.height < 0.7 * whole.width * whole.height
    assert "23 of 30 runs" in html and "23 of 30 runs" in markdown
    assert "A &lt;note&gt;." in html and "Student's t" in markdown
    # all options, those of the data set and of an arm too
    assert "all arms: `--steps 5 --steps 3000`; half: `--mixup 0.2`." in markdown
    assert "<code>--steps 5 --steps 3000</code>" in html and "<code>--mixup 0.2</code>" in html
    assert html.count("data:image/png;base64,") == 2 and "http" not in html
    for picture in re.findall(r"!\[.*\]\((.*)\)", markdown):
        assert (tmp_path / "page" / picture).stat().st_size > 5000
    back = list(csv.DictReader(lines.splitlines()))
    assert len(back) == 23 and float(back[0]["few"]) == pytest.approx(made[0].figures["few"], 1e-4)
    # the same rows are the same files
    again = [f.read_bytes() for f in write_page(study, made, tmp_path / "again", wanted=30)]
    assert again == [f.read_bytes() for f in files]


def test_a_study_of_one_run_has_a_page(tmp_path: Path) -> None:
    study = read(tmp_path)
    [html, *_] = write_page(study, rows(study)[:1], tmp_path / "page", wanted=30)
    assert "±" not in html.read_text("utf-8") and "nan" not in html.read_text("utf-8")


def test_the_page_names_the_versions_that_trained(tmp_path: Path) -> None:
    """Not those that write the page; and where the code changed between two runs, both."""
    study = read(tmp_path)
    made = [
        replace(row, versions={"torch": "1.0", "git": "old" if n else "new+"})
        for n, row in enumerate(rows(study))
    ]
    [html, markdown, _] = write_page(study, made, tmp_path / "page", wanted=30)[:3]
    for page in (html, markdown):
        assert "Versions of the trainings: torch 1.0, git new+ and old" in page.read_text("utf-8")
    [_, unknown, _] = write_page(study, rows(study), tmp_path / "unknown", wanted=30)[:3]
    assert "Versions of the trainings: not recorded" in unknown.read_text("utf-8")


def fake_run(
    monkeypatch: pytest.MonkeyPatch, answers: SimpleNamespace, chars: str, groups: dict[str, str]
) -> SimpleNamespace:
    """A finished run in memory, its test images of those characters; the alphabet is a and b."""

    class Images:
        def __len__(self) -> int:
            return len(chars)

        def column(self, name: str) -> np.ndarray:
            return np.array([*chars], object)

    run = SimpleNamespace(
        alphabet="ab",
        figures={"steps": 7, "test": {"macro_f1": 1.0, "other_auroc": None}},
        answers=lambda split: answers,
        info={"config": {"batch_size": 16, "members": 3}},
    )
    monkeypatch.setattr(results, "Finished", SimpleNamespace(open=lambda *_: run))
    monkeypatch.setattr(results, "Store", SimpleNamespace(open=lambda path: Images()))
    monkeypatch.setattr(results, "read_groups", lambda path: groups)
    monkeypatch.setattr(results, "read_labels", lambda path: {"few": (4.5, 7.25)})
    monkeypatch.setattr(results, "_images", lambda store: 5)
    return run


def test_the_images_shown_are_those_of_all_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_a = Answers(np.arange(4), *np.zeros((2, 4), int), *np.ones((2, 4)), np.ones(4, int))
    run = fake_run(monkeypatch, all_a, "aaaa", {"a": "few"})
    [trained, *_] = plan(read(tmp_path), tmp_path)[1]
    one = Runner([], tmp_path, [], tmp_path, 1)
    assert results._row(trained, one).figures["shown"] == 3 * 7 * 16
    del run.info["config"]["members"]  # of an earlier version
    assert results._row(trained, one).figures["shown"] == 7 * 16


def test_the_threshold_of_other_is_left_out_of_the_closed_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class 2 is other. Of six images of a two are read right, one as b, and three called other, of
    two of which a was the best known character; of x one of two is found."""
    answers = Answers(
        row=np.arange(8),
        target=np.array([0, 0, 0, 0, 0, 0, 2, 2]),
        answer=np.array([0, 0, 2, 2, 2, 1, 2, 1]),
        score=np.array([0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.9, 0.1]),
        confidence=np.array([0.8, 0.8, 0.2, 0.2, 0.2, 0.8, 0.2, 0.8]),
        second=np.array([1, 1, 0, 0, 1, 0, 0, 0]),
    )
    fake_run(monkeypatch, answers, "aaaaaaxx", {"a": "few", "x": "other_unseen"})
    [trained, *_] = plan(read(tmp_path), tmp_path)[1]
    found = results._row(trained, Runner([], tmp_path, [], tmp_path, 1)).figures
    assert found["few"] == pytest.approx(2 / 6) and found[closed("few")] == pytest.approx(4 / 6)
    assert found["other_unseen"] == 0.5 and closed("other_unseen") not in found
    # four answers name a character, at .8, and two of them are right
    assert found["ece"] == pytest.approx(0.3)
    assert (found[labels("right", "few")], found[labels("wrong", "few")]) == (4.5, 7.25)
    # where all are called other there is no such error
    none = replace(answers, answer=np.full(8, 2))
    fake_run(monkeypatch, none, "aaaaaaxx", {"a": "few", "x": "other_unseen"})
    assert "ece" not in results._row(trained, Runner([], tmp_path, [], tmp_path, 1)).figures


def test_accuracy_counts_every_character_the_same() -> None:
    chars = ["a"] * 8 + ["b"] * 2 + ["x"] * 2
    right = np.array([True] * 8 + [False, True] + [True, True])
    of = {"a": "few", "b": "few", "x": "other_unseen"}
    places = [(of[char], char) for char in chars]
    assert accuracy_by_group(places, right) == {"few": 0.75, "other_unseen": 1.0}
