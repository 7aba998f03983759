"""A study: its file, its commands in order, going on where it stopped, its tables and page."""

from __future__ import annotations

import csv
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import ROOT

from classifier.study import results
from classifier.study.grid import Study
from classifier.study.harm import harms
from classifier.study.page import write_page
from classifier.study.plan import Job, plan
from classifier.study.results import Row, accuracy_by_group
from classifier.study.runner import Runner
from classifier.study.tables import difference, gap_closed, tables
from synth.errors import InputError

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
SMALL = {
    "data": {
        "d": {
            "images": "d.zip",
            "test_names": "test_",
            "groups": "common:2:9,few:1:3,other_unseen:1:0",
        }
    },
    "scenario_seeds": [1, 2],
    "training_seeds": [1, 2, 3],
    "classifier": "--steps 5",
    "stores": {
        "font": "render_fonts.py --real {real} --out {out} --seed {seed}",
        "half": "thin_store.py --store {font} --real {real} --ratio 0.5 --out {out}",
        "gan": {"command": "train_gan.py --real {real} --out {out}", "makes": "samples"},
        "raw": {
            "command": "train_gan.py --real {real} --out {out} --keep-refused",
            "inside": "gan",
            "makes": "unchecked",
        },
    },
    "arms": {
        "real": {"title": "real only"},
        "few20": {"images": {"few": 20}},
        "half": {"stores": ["half"], "options": "--mixup 0.2"},
        "raw": {"stores": ["raw"]},
        "oracle": {"images": {"few": 100}},
    },
    "compare": {
        "baseline": "real",
        "oracle": "oracle",
        "gap": ["few"],
        "worth": [
            {"group": "few", "real": {3: "real", 20: "few20", 100: "oracle"}, "arms": {"half": 3}}
        ],
        "curves": [
            {
                "title": "numbers",
                "x": "real images",
                "figure": "few",
                "lines": {"real only": {3: "real", 20: "few20", 100: "oracle"}},
            }
        ],
    },
}


def read(tmp_path: Path, **changes: object) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes), encoding="utf-8")
    return Study.read(path)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_command_of_the_studies_is_one_that_its_script_understands(
    path: Path, load_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    jobs, trained = plan(Study.read(path), tmp_path)
    scripts: dict[str, object] = {}
    known: set[str] = set()
    for job in jobs:
        name = job.words[0].removesuffix(".py")
        if name not in scripts:
            scripts[name] = load_script(name).options()
        scripts[name].parse_args([str(w) for w in job.words[1:]])
        assert known.issuperset(job.needs)  # in an order that they could be done in
        known.add(job.name)
    assert len(known) == len(jobs) and len({job.done for job in jobs}) == len(jobs)
    assert {t.job for t in trained} <= known


def test_the_studies_hold_what_was_promised() -> None:
    default, full = (Study.read(ROOT / "studies" / f"{n}.yaml") for n in ("default", "full"))
    jobs, trained = plan(full, Path("out"))
    # those that generate without the filter go on with the run of the store that they are inside
    gans = [j for j in jobs if j.words[0] == "train_gan.py" and "--generate-only" not in j.words]
    folders = {j.words[j.words.index("--out") + 1] for j in gans}
    head = (ROOT / "studies" / "full.yaml").read_text("utf-8")
    assert f"{len(trained)} trainings of the classifier and {len(folders)} of the GAN" in head
    assert {"real", "balanced", "fonts", "gan", "fonts_gan", "oracle"} <= set(default.arms)
    assert {"adjusted", "strong", "gan_class", "unchecked", "no_other"} <= set(full.arms)
    assert full.seeds_of("hwdb99") == ((1, 2), (1, 2, 3))
    [images] = [c for c in full.compare.curves if c.x.startswith("real images")]
    assert set(images.lines["real only"]) == {0, 1, 2, 5, 10, 20, 50, 100}
    for curve in full.compare.curves:
        assert len(curve.lines["real + fonts + GAN"]) > 2
        # every point of every curve is measured on the seeds named above
        assert {a for line in curve.lines.values() for a in line.values()} <= set(
            full.arms_of("hwdb99")
        )
    for study in (default, full):
        for worth in study.compare.worth:
            measured = set(study.arms_of("hwdb99"))
            assert len(measured & set(worth.real.values())) > 2
            assert {"gan", "fonts_gan"} <= measured & set(worth.arms)


def test_stores_are_made_once_for_a_scenario_and_before_they_are_read(tmp_path: Path) -> None:
    jobs, trained = plan(read(tmp_path), Path("out"))
    named = {job.name: job for job in jobs}
    assert len(trained) == 5 * 2 * 3 and len(jobs) == 1 + 2 * 3 + 2 * 4 + 30
    half = next(t for t in trained if t.arm == "half" and t.scenario_seed == 2)
    assert half.makers == ("d-seed2-base-font", "d-seed2-base-half")
    words = shlex.join(named[half.job].words)
    assert "--synth out/d/seed2/base/half --test out/d/seed2/base/test" in words
    assert words.endswith("--steps 5 --mixup 0.2")
    raw = named["d-seed1-base-raw"]
    assert raw.done == Path("out/d/seed1/base/gan/unchecked/store.json")
    assert "out/d/seed1/base/gan" in raw.words and "d-seed1-base-gan" in raw.needs
    # the oracle's real images are another cut of the same scenario
    oracle = next(t for t in trained if t.arm == "oracle")
    assert oracle.scenario == Path("out/d/seed1/few100")


def test_every_training_seed_compares_all_arms_before_the_next(tmp_path: Path) -> None:
    _, trained = plan(read(tmp_path), Path("out"))
    first = [(t.scenario_seed, t.training_seed) for t in trained]
    assert first == sorted(first)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"arms": {"real": {"optoins": ""}}}, "arms: real: no 'optoins'"),
        ({"compare": {"baseline": "nobody"}}, "there is no 'nobody'"),
        ({"compare": {}}, "'baseline' is missing"),
        ({"stores": {"a": "x {b}", "b": "x {a}"}, "arms": {"real": {}}}, "need each other"),
        ({"stores": {"real": "x"}}, "means something else"),
        ({"arms": {"a/b": {}}}, "to name a folder"),
        ({"data": {"d": {"images": "x", "groups": "a:1:1"}}}, "test_names or test_images"),
        ({"arms": {}}, "at least one"),
        ({"compare": {"baseline": "real", "gap": ["fwe"]}}, "no data has a group 'fwe'"),
        ({"scenario_seeds": 1}, "scenario_seeds: wanted a list, [a whole number, ...], got 1"),
        ({"training_seeds": [1, "2"]}, "training_seeds: wanted a list"),
        ({"training_seeds": [1, 2, 1]}, "[1, 2, 1]: wanted one at least, none twice"),
        ({"training_seeds": []}, "[]: wanted one at least"),
        ({"classifier": "--name 'a"}, 'classifier: "--name \'a": No closing quotation'),
        ({"arms": {"real": {"options": '"'}}}, "arms: real: '\"': No closing quotation"),
        ({"arms": {"real": {"options": 5}}}, "arms: real: options: wanted text, got 5"),
        ({"arms": {"real": {"noise": "much"}}}, "noise: wanted a number or nothing, got 'much'"),
        ({"arms": {"real": {"images": [5]}}}, "images: wanted {text: a whole number, ...}"),
        ({"arms": {1: {}}}, "arms: wanted {text: Arm, ...}"),
        ({"stores": {"font": "x 'y"}}, 'stores: font: "x \'y": No closing quotation'),
        ({"stores": {"font": ""}}, "stores: font: no command"),
        ({"stores": ["font"]}, "stores: wanted name: command"),
        ({"stores": {"test": "x"}}, "stores: 'test' is another folder"),
        ({"stores": {"runs": "x"}}, "stores: 'runs' is another folder"),
        ({"stores": {"cut": "x"}}, "stores: 'cut' is another folder"),
        ({"compare": {"baseline": "real", "worth": 3}}, "worth: wanted a list, got 3"),
        ({"compare": {"baseline": "real", "gap": "few"}}, "gap: wanted a list, [text, ...]"),
        ({"compare": {"baseline": ["real"]}}, "baseline: wanted text"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    changes = {"compare": {"baseline": "real"}} | changes
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        # one command's name, another's output
        (
            {"stores": {"real-seed1": "x"}, "arms": {"real": {}, "b": {"stores": ["real-seed1"]}}},
            "two commands would be called d-seed1-base-real-seed1",
        ),
        (
            {
                "stores": {"a": "x", "b": {"command": "y", "inside": "a"}},
                "arms": {"real": {"stores": ["a", "b"]}},
            },
            "d-seed1-base-a and d-seed1-base-b would both make",
        ),
    ],
)
def test_commands_that_would_be_taken_for_one_another(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    study = read(tmp_path, **({"compare": {"baseline": "real"}} | changes))
    with pytest.raises(InputError, match=message):
        plan(study, tmp_path)


# stands for a command: writes its arguments and the time, or fails where it is told to
WORK = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1])
with (out.parent / "calls.txt").open("a") as f:
    f.write(out.name + "\\n")
if (out.parent / f"fail-{out.name}").exists():
    sys.exit(f"no {out.name} today")
time.sleep(0.1)
out.write_text(" ".join(sys.argv[2:]))
"""


class Chain:
    """b and c need a, d needs both."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "work.py").write_text(WORK)

    def runner(self, workers: int = 2, more: str = "") -> Runner:
        needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
        jobs = [
            Job(n, "kind", ("work.py", str(self.top / n), *more.split()), self.top / n, of)
            for n, of in needs.items()
        ]
        return Runner(jobs, self.top / "out", [sys.executable], self.top, workers)

    @property
    def calls(self) -> list[str]:
        path = self.top / "calls.txt"
        return path.read_text().split() if path.exists() else []


def test_each_job_is_done_once_after_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Chain(tmp_path)
    ended = chain.runner().run()
    assert ended.done == ("a", "b", "c", "d") and not ended.failed and not ended.waiting
    assert (
        chain.calls[0] == "a" and sorted(chain.calls[1:3]) == ["b", "c"] and chain.calls[3] == "d"
    )
    assert chain.runner().seconds("b") > 0.1
    assert "min left" in capsys.readouterr().out
    chain.runner().run()
    assert len(chain.calls) == 4


def test_a_failed_job_holds_up_only_those_that_need_it_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Chain(tmp_path)
    (tmp_path / "fail-b").touch()
    ended = chain.runner().run()
    assert (ended.done, ended.failed, ended.waiting) == (("a", "c"), ("b",), ("d",))
    assert "FAILED b: no b today" in capsys.readouterr().err
    (tmp_path / "fail-b").unlink()
    assert chain.runner(workers=1).run().done == ("a", "b", "c", "d")
    assert sorted(chain.calls) == ["a", "b", "b", "c", "d"]
    assert chain.runner().seconds("b") > 0.1  # of both starts


def test_a_result_of_another_command_is_refused_before_anything_runs(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.runner().run()
    (tmp_path / "d").unlink()
    assert chain.runner(more="").run().done == ("a", "b", "c", "d")
    with pytest.raises(InputError, match=r"--steps 9.*so it is with 3 more: b, c, d"):
        chain.runner(more="--steps 9").run()
    assert len(chain.calls) == 5


def test_a_result_of_what_was_made_anew_is_refused(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.runner().run()
    (tmp_path / "b").unlink()
    chain.runner().run()
    assert chain.calls[4:] == ["b"]
    with pytest.raises(InputError, match="b was made anew"):
        chain.runner().run()
    (tmp_path / "d").unlink()
    assert chain.runner().run().done == ("a", "b", "c", "d")


def test_a_run_without_its_page_or_figures_is_not_done(tmp_path: Path) -> None:
    """The page is written after the figures: where that failed, the command is called again."""
    jobs, trained = plan(read(tmp_path), tmp_path / "out")
    runner = Runner(jobs, tmp_path / "out", [], tmp_path, 1)
    run = trained[0].run
    run.mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    assert runner.done() == set() and results.rows_of(trained, runner) == []
    (run / "report.html").write_text("")
    assert runner.done() == {trained[0].job}
    (run / "metrics.json").unlink()
    assert runner.done() == set() and results.rows_of(trained, runner) == []


def rows(study: Study, seed: int = 0) -> list[Row]:
    """Made up: `half` closes 60 % of the gap of "few" and costs a point on common characters."""
    rng = np.random.default_rng(seed)
    few = {"real": 0.5, "few20": 0.7, "half": 0.74, "raw": 0.6, "oracle": 0.9}
    found = []
    for t in plan(study, Path("out"))[1]:
        noise = rng.normal(0, 0.002, 3)
        figures = {
            "common": 0.95 - 0.03 * (t.arm == "half") + noise[0],
            "few": few[t.arm] + noise[1],
            "macro_f1": 0.8 + noise[2],
            "ece": 0.05 - 0.02 * (t.arm == "half"),
            "minutes": 2.5,
            "real": 30,
        }
        found.append(Row(t.data, t.arm, t.scenario_seed, t.training_seed, figures))
    return found


def test_tables_say_what_was_put_in(tmp_path: Path) -> None:
    study = read(tmp_path)
    made = rows(study)
    gap = gap_closed(made, "half", "real", "oracle", "few")
    assert gap.low < 0.6 < gap.high and gap.high - gap.low < 0.05
    assert difference(made, "half", "real", "common").sign == -1
    of = {table.title: table for table in tables(study, made, "d")}
    assert len(of) == 5
    [differences] = [t for title, t in of.items() if "difference" in title]
    signs = {
        line[0].text: dict(zip(differences.head, (c.sign for c in line), strict=True))
        for line in differences.lines
    }
    # less of a calibration error is better
    half = signs["half"]
    assert (half["common"], half["few"], half["calibration error"]) == (-1, 1, 1)
    [worth] = [t for title, t in of.items() if "worth" in title]
    number = float(worth.lines[0][2].text.split(" ±")[0])
    assert 20 < number + 3 < 30  # .74 lies above the .70 of 20 images
    [line] = harms(study, made)
    assert "half: common -3" in line and line.endswith("against real only")


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
    study = read(tmp_path, arms=arms, compare={"baseline": "real"})
    few = dict(zip(arms, (0.5, 0.1, 0.3, 0.2, 0.2, 0.4), strict=True))
    made = [
        Row(t.data, t.arm, t.scenario_seed, t.training_seed, {"few": few[t.arm]})
        for t in plan(study, Path("out"))[1]
    ]
    # better than few0, worse than few0_strong; without an arm of the same noise nothing is said
    [line] = harms(study, made)
    assert "few0_fonts_strong: few -10" in line and line.endswith("against few0_strong")


def test_what_one_run_cannot_tell_is_not_told_as_harmless(tmp_path: Path) -> None:
    """A single run has no interval; the page said that no arm is worse."""
    arms = {"real": {}, "strong": {}, "font": {"stores": ["font"]}, "half": {"stores": ["half"]}}
    study = read(tmp_path, arms=arms, compare={"baseline": "real"})

    def lines(**runs: int) -> list[str]:
        few = {"real": 0.5, "font": 0.1, "half": 0.5}
        made = [
            Row("d", arm, 1, seed, {"few": few[arm] + 0.01 * seed})
            for arm, number in runs.items()
            for seed in range(number)
        ]
        page = write_page(study, made, tmp_path / "page", wanted=9)[1].read_text("utf-8")
        found = harms(study, made)
        assert all(f"- {line}\n" in page for line in found)
        return found

    of_one = "d: {}: not known: one run against real"
    assert lines(real=1, font=1, half=1) == [of_one.format("font"), of_one.format("half")]
    sure = "arm with synthetic images is by its whole interval worse than the one without them."
    assert lines(real=2, font=1, half=2) == [of_one.format("font"), f"No other {sure}"]
    assert lines(real=2, half=2) == [f"No {sure}"]
    worse = "d: font: few -40.0 ± 0.0 points against real"
    assert lines(real=2, font=2, half=1) == [worse, of_one.format("half")]
    [none] = lines(real=2)
    assert none.startswith("Not known: no arm")


def test_harm_is_measured_against_an_arm_that_the_data_has(tmp_path: Path) -> None:
    """Not the baseline, where this data leaves it out."""
    arms = {"real": {}, "strong": {}, "font": {"stores": ["font"]}}
    data = SMALL["data"]["d"] | {"arms": ["strong", "font"]}
    study = read(tmp_path, arms=arms, data={"d": data}, compare={"baseline": "real"})
    few = {"strong": 0.5, "font": 0.1}
    made = [
        Row(t.data, t.arm, t.scenario_seed, t.training_seed, {"few": few[t.arm]})
        for t in plan(study, Path("out"))[1]
    ]
    assert harms(study, made) == ["d: font: few -40.0 ± 0.0 points against strong"]


def test_pairs_are_compared_and_not_means(tmp_path: Path) -> None:
    """A run that the baseline lacks must not shift the difference."""
    study = read(tmp_path)
    made = [r for r in rows(study) if not (r.arm == "real" and r.training_seed == 3)]
    outlier = next(i for i, r in enumerate(made) if r.arm == "half" and r.training_seed == 3)
    made[outlier] = Row(*made[outlier].pair[:1], "half", *made[outlier].pair[1:], {"few": 0.0})
    found = difference(made, "half", "real", "few")
    assert found.runs == 4 and found.mean == pytest.approx(0.24, abs=0.01)


def test_the_page_holds_everything_and_says_what_is_missing(tmp_path: Path) -> None:
    data = SMALL["data"]["d"] | {"classifier": "--steps 3000"}
    study = read(tmp_path, note="A <note>.", data={"d": data})
    made = rows(study)[:-7]
    files = write_page(study, made, tmp_path / "page", wanted=30)
    html, markdown, lines = (f.read_text("utf-8") for f in files)
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


def test_the_images_shown_are_those_of_all_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FourImages:
        def __len__(self) -> int:
            return 4

        def column(self, name: str) -> np.ndarray:
            return np.array(["a"] * 4)

    answers = SimpleNamespace(
        row=np.arange(4), right=np.ones(4, bool), sure=lambda known: np.full(4, 0.9)
    )
    run = SimpleNamespace(
        alphabet="a",
        figures={"steps": 7, "test": {"macro_f1": 1.0, "other_auroc": None}},
        answers=lambda split: answers,
        info={"config": {"batch_size": 16, "members": 3}},
    )
    monkeypatch.setattr(results, "Finished", SimpleNamespace(open=lambda *_: run))
    monkeypatch.setattr(results, "Store", SimpleNamespace(open=lambda path: FourImages()))
    monkeypatch.setattr(results, "read_groups", lambda path: {"a": "few"})
    monkeypatch.setattr(results, "_images", lambda store: 5)
    [trained, *_] = plan(read(tmp_path), tmp_path)[1]
    runner = Runner([], tmp_path, [], tmp_path, 1)
    assert results._row(trained, runner).figures["shown"] == 3 * 7 * 16
    del run.info["config"]["members"]  # of an earlier version
    assert results._row(trained, runner).figures["shown"] == 7 * 16


def test_accuracy_counts_every_character_the_same() -> None:
    chars = np.array(["a"] * 8 + ["b"] * 2 + ["x"] * 2, object)
    right = np.array([True] * 8 + [False, True] + [True, True])
    of = {"a": "few", "b": "few", "x": "other_unseen"}
    assert accuracy_by_group(chars, right, of) == {"few": 0.75, "other_unseen": 1.0}
