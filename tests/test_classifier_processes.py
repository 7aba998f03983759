"""Several processes train as one would; the environment tells which one this is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from test_classifier_train import _config, _store

from classifier.bending import Bending
from classifier.config import PRESETS
from classifier.lit import ClassifierModule
from classifier.processes import Processes
from synth.command import run
from synth.errors import InputError

MINE = """
from torch import nn

class Group(nn.Module):
    # a batch norm sees the images of one process alone: replaced, for results that can be equal
    def __init__(self, old):
        super().__init__()
        self.norm = nn.GroupNorm(4, old.num_features)

    def forward(self, x):
        return self.norm(x)

class Nothing(nn.Module):
    def __init__(self, old):
        super().__init__()

    def forward(self, x):
        return x
"""


# the command, without its look for copies: the bars and rings of these stores are all alike
COMMAND = f"""
import runpy
import synth.near_copies
synth.near_copies.refuse_copies = lambda real: None
runpy.run_path({str(ROOT / "scripts" / "train_classifier.py")!r}, run_name="__main__")
"""


def test_torchrun_and_slurm_are_told_apart(monkeypatch):
    for name in [n for n in os.environ if n.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    assert Processes.here() == Processes(0, 1, 1)
    values = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    values |= {"GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    found = Processes.here()
    assert found == Processes(3, 4, 2) and found.of_a_node == 2 and not found.first
    for name in values:
        monkeypatch.delenv(name)
    slurm = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "t"}
    slurm["SLURM_NTASKS_PER_NODE"] = "2"  # Lightning refuses --ntasks alone
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert Processes.here() == Processes(0, 4, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # a shell inside an allocation is one process
    assert Processes.here() == Processes(0, 1, 1)


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    from classifier import train as runs

    real = _store(tmp_path / "real", "real", "ABC", 15)
    for rank in range(3):
        monkeypatch.setattr(Processes, "here", classmethod(lambda cls, r=rank: cls(r, 3, 1)))
        with pytest.raises(InputError, match=r"--batch-size 16: .* by 3 processes; .* of 3"):
            runs.train(real, [], tmp_path / "run", _config(), 1, {})
    assert not (tmp_path / "run").exists()


def _distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Of the weights in `b`, to those of the same names in `a`."""
    return sum((a[k] - b[k]).square().sum().item() for k in b) ** 0.5


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_says_what_is_trained(
    rank, tmp_path, monkeypatch, load_script, capsys
):
    from classifier import train as runs

    real = _store(tmp_path / "real", "real", "ABC", 15).path
    monkeypatch.setattr("synth.near_copies.told_copies", lambda *_: "some are copies")
    monkeypatch.setattr(Processes, "here", classmethod(lambda cls: cls(rank, 2, 1)))
    monkeypatch.setattr(runs, "train", lambda *_: {})
    script = load_script("train_classifier")
    line = f"--real {real} --test {real} --allow-copies --preset small --out {tmp_path}/run"
    assert run(script.options(), script.main, line.split()) == 0
    said = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ([] if rank else ["some are copies", "preset small"])


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Up to the order of sums: plain SGD, norms of each image by itself, no dropout."""
    _store(tmp_path / "real", "real", "ABC", 15)
    _store(tmp_path / "font", "font", "ABCXYZ", 12)
    (tmp_path / "mine.py").write_text(MINE, "utf-8")
    (tmp_path / "command.py").write_text(COMMAND, "utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    replaced = ("*norm?=mine:Group", "*shortcut.2=mine:Group", "stem.1=mine:Group")
    replaced += ("dropout=mine:Nothing",)
    options = [
        *("--real", "real", "--synth", "font", "--preset", "small", "--steps", "6"),
        *("--batch-size", "16", "--precision", "32-true", "--optimiser", "sgd", "--lr", "0.02"),
        *("--noise-loss", "elr", "--hard-weight", "2", "--freeze-steps", "2"),
        *("--monitor", "val_macro", "--replace", *replaced),
    ]
    script = ["command.py", *options]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    for name, command in (("one", script), ("two", [*launch, *script])):
        done = subprocess.run(
            [sys.executable, *command, "--out", name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("preset small") == 1  # the first process alone says it
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys()
    monkeypatch.syspath_prepend(str(tmp_path))
    config = replace(PRESETS["small"], replace=replaced)
    network = ClassifierModule(config, 6, 3, Bending(), seed=1).network  # of ABC, other, X and Y
    start = {f"members.0.{name}": value for name, value in network.state_dict().items()}
    moved = _distance(one, start)
    assert moved > 0
    # gradients of half a batch alone would lead a third as far away
    assert _distance(one, two) < 0.01 * moved, _distance(one, two) / moved
    a, b = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    assert a["val"]["accuracy"] == b["val"]["accuracy"] and a["best"]["step"] == b["best"]["step"]
    lines = [(tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in ("one", "two")]
    assert len(lines[0]) == len(lines[1])  # written once, by the first process
    assert json.loads((tmp_path / "two/model.json").read_text())["info"]["processes"] == 2


def test_batches_of_processes_are_disjoint_and_together_whole(tmp_path):
    from classifier.mixing import Mix, MixSettings, Pool, training_classes

    font = _store(tmp_path / "font", "font", "ABCXYZ", 12)
    names, (targets,) = training_classes(font.alphabet, [font])
    mix = Mix.of(
        [Pool.of(font, targets)],
        (*font.alphabet.classes, *names),
        MixSettings(),
        seed=1,
        batch_size=12,
        total_steps=9,
    )
    for step in range(9):
        whole, parts = mix.batch(step), [mix.batch(step, r, 3) for r in range(3)]
        for rank, part in enumerate(parts):
            assert np.array_equal(part.row, whole.row[rank::3]) and len(part) == 4
        assert sorted(np.concatenate([p.row for p in parts])) == sorted(whole.row)
