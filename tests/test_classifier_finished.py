"""What a finished run says of itself, and what a run refuses to be measured on."""

import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import draw_strokes
from test_classifier_options import train
from test_classifier_train import ALPHABET, _config, _stores

from classifier import finished
from classifier import train as runs
from classifier.config import ClassifierConfig
from classifier.finished import Finished, repeat
from synth.canvas import Canvas, place
from synth.errors import InputError
from synth.near_copies import refuse_copies
from synth.store import Sample, Store, StoreWriter

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*workers.*"),
]
LOOKS_FOR_COPIES = refuse_copies  # as it is, before the fixture takes it away


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Store]:
    return _stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def plain_run(stores, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(stores, out)
    return out


def test_damaged_figures_are_one_line_and_the_command_makes_them_anew(stores, tmp_path, plain_run):
    out = tmp_path / "run"
    shutil.copytree(plain_run, out)
    whole = (out / "metrics.json").read_text("utf-8")
    for text in (whole[:-20], "[]", ""):
        (out / "metrics.json").write_text(text, "utf-8")
        with pytest.raises(InputError, match=r"metrics\.json: damaged"):
            train(stores, out)
        with pytest.raises(InputError, match=r"metrics\.json: damaged"):
            Finished.open(out, "x")
    steps = out / "metrics.jsonl"
    torn = '{"step": 4, "loss": 1.0}\n{"step": 8, "lo'
    for text in ("[1]\n", torn):
        (out / "metrics.json").write_text(whole, "utf-8")
        steps.write_text(text, "utf-8")
        with pytest.raises(InputError, match=r"metrics\.jsonl: damaged .*that line"):
            Finished.open(out, "x")
    steps.unlink()
    (out / "metrics.json").unlink()
    again = train(stores, out)
    assert again["threshold"] == json.loads(whole)["threshold"]
    assert Finished.open(out, "x").figures["val"] == again["val"]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_a_run_says_which_commit_made_it(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        line = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x", *words]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(finished, "SOURCE", tmp_path)
    assert "git" not in finished.versions()
    git("init", "-q")
    assert "git" not in finished.versions()  # nothing is committed
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert finished.versions()["git"] == commit and len(commit) == 40
    (tmp_path / "code.py").write_text("2")
    assert finished.versions()["git"] == f"{commit}+"
    monkeypatch.setenv("PATH", "")
    assert "git" not in finished.versions()  # no git here
    assert finished.versions()["torch"]


def test_a_run_says_how_many_networks_it_is_and_of_which_packages(plain_run, monkeypatch):
    run = Finished.open(plain_run, "x")
    assert dict(finished.facts(run))["Network"] == "compact, 32-true"
    run.info["config"]["members"] = 3
    told = dict(finished.facts(run))["Network"]
    assert told == "compact x 3, their probabilities averaged, 32-true"
    del run.info["config"]["members"]  # of an earlier version
    assert dict(finished.facts(run))["Network"] == "compact, 32-true"
    there = {"nvidia-dali-cuda120": "1.34", "timm": "1.0.3", "efficientnet-pytorch": "0.7.1"}
    real = finished.version
    monkeypatch.setattr(finished, "version", lambda name: there.get(name) or real(name))
    assert there.items() <= finished.versions().items()


def test_a_resumed_run_does_not_tell_the_time_of_its_last_part_as_that_of_all(plain_run):
    run = Finished.open(plain_run, "x")
    assert run.figures["since_step"] == 0
    run.figures.update(seconds=61.0, images_per_second=1234)
    for since, told in (
        (0, "1 min 1 s, 1,234 images/s"),
        (8, "1 min 1 s since step 8, where it went on, 1,234 images/s"),
        (12, "1 min 1 s since step 12, where it went on"),  # its end alone was missing
    ):
        run.figures["since_step"] = since
        assert dict(finished.facts(run))["Time"] == told
    del run.figures["since_step"]  # of an earlier version
    assert dict(finished.facts(run))["Time"] == "1 min 1 s, 1,234 images/s"


@pytest.mark.parametrize(
    ("processes", "nodes", "starts"),
    [
        (1, 1, "python scripts/train_classifier.py"),
        (4, 1, "torchrun --nproc-per-node 4 -- scripts/train_classifier.py"),
        (4, 2, "torchrun --nnodes 2 --nproc-per-node 2 -- scripts/train_classifier.py"),
    ],
)
def test_the_command_that_repeats_a_run_starts_as_many_processes(
    plain_run, stores, load_script, processes, nodes, starts
):
    run = Finished.open(plain_run, "x")
    arguments = {"real": "a", "synth": ["b"], "out": "c", "allow_copies": True, "cleaning": False}
    run.info.update(processes=processes, nodes=nodes, arguments=arguments)
    command = repeat(run, [])["command"]
    assert command.startswith(starts)
    words = shlex.split(command.replace("\\\n", " "))
    words = words[words.index("scripts/train_classifier.py") + 1 :]
    args = load_script("train_classifier").options().parse_args(words)
    assert args.allow_copies and not args.cleaning and args.synth == [Path("b")]


def test_training_images_that_are_copies_of_validation_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "refuse_copies", LOOKS_FOR_COPIES)
    images = [255 - np.asarray(draw_strokes(seed, 64)) for seed in range(12)]
    images.append(np.roll(images[0], 1, 1))  # moved by a pixel
    rows = [("ABC"[i % 3], "val" if i < 3 else "train") for i in range(12)] + [("A", "train")]
    stores = []
    for name, last in (("copied", 13), ("apart", 12)):
        with StoreWriter(tmp_path / name, Canvas(), ALPHABET, {"command": "test"}) as writer:
            pictures = np.stack([place(image, Canvas()) for image in images[:last]])
            writer.append(pictures, [Sample(c, c, "real", split) for c, split in rows[:last]])
        stores.append(Store.open(tmp_path / name))
    config = _config(steps=2, steps_per_epoch=2)
    with pytest.raises(InputError, match="1 training images are copies"):
        runs.train(stores[0], [], tmp_path / "run", config, 1, {})
    assert not (tmp_path / "run").exists()
    assert runs.train(stores[1], [], tmp_path / "run", config, 1, {})["steps"] == 2


def test_a_finished_run_of_an_earlier_version_is_finished(stores, tmp_path, plain_run, capsys):
    """It knows fewer settings: those it does not know are as they are by default."""
    out = tmp_path / "run"
    shutil.copytree(plain_run, out)
    kept = yaml.safe_load((out / "config.yaml").read_text("utf-8"))
    assert kept["machine"] == {"threads": 2, "resident_gib": ClassifierConfig().resident_gib}
    del kept["classifier"]["threshold_by"], kept["start"]["test"], kept["machine"]
    kept["classifier"] |= {"threads": 1, "resident_gib": 9.0}  # which bound a run then
    (out / "config.yaml").write_text(yaml.safe_dump(kept), "utf-8")
    with pytest.raises(InputError, match="threshold_by: all -> group"):
        train(stores, out, threshold_by="group")
    assert train(stores, out) == json.loads((out / "metrics.json").read_text("utf-8"))
    assert "this run is finished" in capsys.readouterr().out


def test_a_run_goes_on_with_less_of_the_machine_but_with_no_other_setting(stores, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    first = _config(threads=4, resident_gib=8.0, steps=2, steps_per_epoch=2)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(runs, "fit", lambda *a: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            runs.train(stores["real"], [], out, first, 1, {})
    less = replace(first, threads=1, resident_gib=0.0)
    with pytest.raises(InputError, match="lr: "):
        runs.train(stores["real"], [], out, replace(less, lr=0.1), 1, {})
    assert runs.train(stores["real"], [], out, less, 1, {})["steps"] == 2
    info = Finished.open(out, "x").info
    assert (info["config"]["threads"], info["config"]["resident_gib"]) == (1, 0.0)
