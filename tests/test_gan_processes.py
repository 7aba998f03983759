"""Two processes train what one trains, and a killed process goes on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from tiny_gan import CONFIG, real_store

from gan.processes import join, rank, world
from gan.run import GanRun
from synth.errors import InputError

TINY = str(ROOT / "tests" / "tiny_gan.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def _start(*command: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*command: str) -> str:
    process = _start(*command)
    out, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    return out


def _losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    """The same batches, styles, noise and shifts; only sums are added up in another order."""
    one = tmp_path / "one"
    _run(TINY, str(one), "10", "1", "image")
    # Lightning starts the second one; and torchrun starts both
    _run(TINY, str(tmp_path / "two"), "10", "2", "image")
    _run(*TORCHRUN, TINY, str(tmp_path / "both"), "10", "2", "image")

    (losses,) = _losses(one)
    weights = load_file(one / "generator.safetensors")
    moved = _distance(weights, _untrained())
    assert moved > 0
    for name in ("two", "both"):
        (there,) = _losses(tmp_path / name)
        assert there.keys() == losses.keys()
        for term, value in losses.items():
            assert abs(there[term] - value) < 1e-3 * max(1, abs(value)), (name, term)
        apart = _distance(load_file(tmp_path / name / "generator.safetensors"), weights)
        # gradients of half a batch alone would lead a third as far away
        assert apart < 0.1 * moved, (name, apart / moved)


@pytest.mark.slow
def test_two_processes_come_from_a_store_to_the_run_that_one_comes_to(tmp_path):
    """The second one trains no recogniser and writes nothing: it waits for the first, reads what
    that has written, trains its half and ends."""
    real = str(real_store(tmp_path / "real", "一國永", {"國": 9, "永": 3}).path)
    runs = [tmp_path / name for name in ("one", "two", "both")]
    _run(TINY, "--whole", real, str(runs[0]), "1")
    _run(TINY, "--whole", real, str(runs[1]), "2")  # Lightning starts the second one
    _run(*TORCHRUN, TINY, "--whole", real, str(runs[2]), "2")
    weights = load_file(runs[0] / "generator.safetensors")
    moved = _distance(weights, _untrained())
    assert moved > 0
    (losses,) = _losses(runs[0])
    for run in runs[1:]:
        for name in ("recogniser.safetensors", "trusted.npy", "style_rows.npy", "generator.json"):
            assert (run / name).read_bytes() == (runs[0] / name).read_bytes(), (run.name, name)
        (there,) = _losses(run)
        for term, value in losses.items():
            assert abs(there[term] - value) < 1e-3 * max(1, abs(value)), (run.name, term)
        apart = _distance(load_file(run / "generator.safetensors"), weights)
        assert apart < 0.1 * moved, (run.name, apart / moved)
        GanRun.open(run)
        # a second start of both only opens what is finished
        _run(*TORCHRUN, TINY, "--whole", real, str(run), "2")


def _untrained() -> dict[str, torch.Tensor]:
    """The generator that the runs of three characters with style "image" start from."""
    from gan.lit import GanModule

    return GanModule(replace(CONFIG, style="image"), 64, 3, seed=1).generator.state_dict()


def _distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return sum((a[k] - b[k]).square().sum().item() for k in a) ** 0.5


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_losses_of_an_unbroken_run(tmp_path):
    _run(TINY, str(tmp_path / "whole"), "60")
    draws, kills = np.random.default_rng(5), 0
    run = tmp_path / "killed"
    while not (run / "generator.safetensors").exists():
        started = time.monotonic()
        process = _start(TINY, str(run), "60")
        if kills < 6:  # the later ones die while they import, write a checkpoint, or train
            before = (run / "checkpoints" / "last.ckpt").exists()
            while process.poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
                time.sleep(0.01)
            if before:
                time.sleep((time.monotonic() - started) + draws.uniform(0, 6))
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate(timeout=900)
    assert kills >= 3
    assert (run / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    whole = (tmp_path / "whole" / "generator.safetensors").read_bytes()
    assert (run / "generator.safetensors").read_bytes() == whole


def test_numbers_of_the_processes(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), world(1), world(3)) == (0, 1, 3)
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Lightning starts them
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (rank(), world(7)) == (1, 2)
    monkeypatch.setenv("RANK", "3")  # torchrun on two machines
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (rank(), world(1)) == (3, 4)
    with pytest.raises(InputError, match="torchrun started 4 processes"):
        join(2)


def test_no_devices_are_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InputError, match="at least 1"):
        join(0)
