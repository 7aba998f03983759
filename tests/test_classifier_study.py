"""A study: its file, its commands in order, going on where it stopped."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT

from classifier.study import results, runner
from classifier.study.grid import Study
from classifier.study.plan import Job, plan, refuse_missing
from classifier.study.presets import left_to_preset
from classifier.study.results import closed
from classifier.study.runner import Runner
from gan.config import PRESETS as GAN_PRESETS
from synth import sample
from synth.errors import InputError
from synth.groups import deal, parse_groups
from synth.learning import fitting_preset

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
    curves = [c for c in full.compare.curves if c.x.startswith("real images")]
    assert [c.figure for c in curves] == ["few", closed("few")]
    for images in curves:
        assert set(images.lines["real only"]) == {0, 1, 2, 5, 10, 20, 50, 100}
    for arm in ("noise0", "noise0_fonts_gan", "noise0_oracle"):
        assert full.arms[arm].noise == 0
    assert full.compare.gaps == {"noise0": "noise0_oracle"}
    assert full.arms["noise0_oracle"].images == full.arms["oracle"].images
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


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_the_points_of_a_curve_differ_in_nothing_but_its_images(path: Path) -> None:
    """The oracle has more images of another group too, so what "few" gains there is not all of
    its own images."""
    study = Study.read(path)
    base = study.arms[study.compare.baseline]
    for worth in study.compare.worth:
        assert len(worth.real) > 2
        for arm in map(study.arms.get, worth.real.values()):
            assert not arm.stores and (arm.options, arm.noise) == (base.options, base.noise)
            groups = {
                g for g in {*arm.images, *base.images} if arm.images.get(g) != base.images.get(g)
            }
            assert groups <= {worth.group}


def test_the_sample_has_what_its_study_deals_out() -> None:
    """With five of each character to spare, should images be copies of test images."""
    study = Study.read(ROOT / "studies" / "sample.yaml")
    assert "imulated" in study.title and "SIMULATED" in study.note
    data, rows = study.data["simulated"], sample.plan(1)
    shown = {
        part: Counter(r.char for r in rows if r.path.startswith(part))
        for part in ("train/", "test/")
    }
    spare = {char: max(n - 5, 0) for char, n in shown["train/"].items()}
    dealt = deal(parse_groups(data.groups), spare, shown["test/"], None, 1)
    assert Counter(dealt.values())["few"] == 6 and len(dealt) == 44
    jobs, _ = plan(study, Path("out"))
    [cut] = [j for j in jobs if j.name == "simulated-seed1-few5-cut"]
    words = shlex.join(cut.words)
    assert "--whole out/simulated/whole --test out/simulated/whole_test" in words
    assert words.endswith("--truth runs/sample/truth.csv")


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
        ({"compare": {"baseline": "real", "gaps": {"real": "raw2"}}}, "there is no 'raw2'"),
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


def test_images_may_be_elsewhere_and_what_lacks_is_told_with_the_way_out(tmp_path: Path) -> None:
    """d.zip of the grid is nowhere."""
    data = SMALL["data"]["d"] | {"hint": "ask for it", "known": str(tmp_path / "known.txt")}
    study = read(tmp_path, data={"d": data})

    def jobs(study: Study) -> list[Job]:
        return plan(study, tmp_path / "out")[0]

    told = "d.zip: no such file or folder, for the data 'd': name another in the --grid file or by "
    with pytest.raises(InputError, match=re.escape(f"{told}--images d=PATH; ask for it")):
        refuse_missing(study, jobs(study), set())
    (tmp_path / "here=1").mkdir()
    moved = study.with_images([f"d={tmp_path}/here=1"])
    assert jobs(moved)[0].words[1] == f"{tmp_path}/here=1"
    with pytest.raises(InputError, match=r"known.txt: no such .* in the --grid file; ask for it"):
        refuse_missing(moved, jobs(moved), set())
    # what was made from it stands
    refuse_missing(study, jobs(study), {job.name for job in jobs(study)})
    (tmp_path / "known.txt").touch()
    refuse_missing(moved, jobs(moved), set())
    for wrong, message in (("d", "wanted NAME=PATH"), ("e=x", "--images e=x: the study has d")):
        with pytest.raises(InputError, match=message):
            study.with_images([wrong])


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


# says what is known of its time while it runs, as a kill of the study would leave it
LONG = """
import json, pathlib, sys, time
record = pathlib.Path(__file__).parent / "out" / "records" / "a.json"
limit = time.monotonic() + 60
time.sleep(1)
while not (known := json.loads(record.read_text())["seconds"]) and time.monotonic() < limit:
    time.sleep(0.1)
pathlib.Path(sys.argv[1]).write_text(str(known))
"""


def test_a_running_job_has_its_time_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_KEEP_S", 0.5)
    (tmp_path / "work.py").write_text(LONG)
    job = Job("a", "kind", ("work.py", str(tmp_path / "a")), tmp_path / "a")
    one = Runner([job], tmp_path / "out", [sys.executable], tmp_path, 1)
    assert one.run().done == ("a",)
    known, took = float((tmp_path / "a").read_text()), one.seconds("a")
    assert 0.5 <= known < took
    # what an earlier start took is added once
    (tmp_path / "a").unlink()
    began = time.monotonic()
    assert one.run().done == ("a",)
    again = time.monotonic() - began
    assert took + 0.5 <= float((tmp_path / "a").read_text()) < one.seconds("a") <= took + again


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


def test_a_result_of_another_preset_is_refused_where_more_would_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(tmp_path)
    monkeypatch.setattr(runner, "left_to_preset", lambda words: {"steps": 500, "width": 1})
    chain.runner().run()
    (tmp_path / "d").unlink()
    monkeypatch.setattr(runner, "left_to_preset", lambda words: {"steps": 1000, "width": 1})
    with pytest.raises(InputError, match=r"other presets \(steps 500, now 1000\).*2 more: b, c"):
        chain.runner().run()
    assert chain.runner().done() == {"a", "b", "c"}  # what is there may be looked at
    assert len(chain.calls) == 4
    for record in (tmp_path / "out" / "records").iterdir():  # an earlier version's
        record.write_text(json.dumps(json.loads(record.read_text()) | {"preset": None}))
    with pytest.raises(InputError, match="steps not known, now 1000"):
        chain.runner().run()


def test_what_a_line_leaves_to_its_preset() -> None:
    line = ["train_gan.py", "--real", "r", "--preset", "light", "--batch-size", "32"]
    left = left_to_preset(line)
    assert (left["preset"], left["steps"]) == ("light", GAN_PRESETS["light"].steps)
    assert left_to_preset([*line[:3], "--preset=light", *line[5:]]) == left
    assert "batch_size" not in left and left["precision"] in ("32-true", "bf16-mixed")
    classifier = left_to_preset(["train_classifier.py", "--steps=7", "--out", "o"])
    assert classifier["preset"] == fitting_preset() and "steps" not in classifier
    assert json.loads(json.dumps(classifier)) == classifier
    assert left_to_preset(["render_fonts.py", "--preset", "none"]) == {}
    with pytest.raises(InputError, match="'none'"):
        left_to_preset(["train_gan.py", "--preset", "none"])


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
