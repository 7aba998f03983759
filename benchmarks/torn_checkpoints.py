"""Kills while a checkpoint is saved in a loop: how many files under the final name are torn?

    python benchmarks/torn_checkpoints.py --kills 500

Ours (`synth.files.save_checked` through `CheckedCheckpoints`) and Lightning's own way, by turns in
one run; Lightning's with its temporary folder on the disk of the run and on another one, if there
is one. Each kill hits a fork that has torch loaded, at a random moment of its first few saves.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pytorch_lightning.plugins.io import CheckpointIO, TorchCheckpointIO

from gan.checkpoints import CheckedCheckpoints
from synth.errors import InputError

FLOATS = 400_000  # of one checkpoint: 1.6 MB, a small network
SAVES = 4  # a kill comes within the time of so many


def checkpoint(number: int) -> dict[str, torch.Tensor]:
    """Each value says which save it is of, so that a mixture of two would show."""
    return {"weights": torch.full((FLOATS,), float(number))}


def save_for_ever(io: CheckpointIO, path: Path, temporary: Path | None) -> None:
    if temporary:
        tempfile.tempdir = str(temporary)
    for number in range(sys.maxsize):
        io.save_checkpoint(checkpoint(number), path)


def killed(work: Callable[[], None], after_s: float) -> None:
    """`work` in a fork, killed after so many seconds."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def state_of(io: CheckpointIO, path: Path) -> str:
    """What stands under the final name: whole or torn; where nothing does, fallen back to the one
    before, or nothing at all."""
    fallback = path.with_name(path.name + ".previous")
    if not path.exists() and not fallback.exists():
        return "nothing"
    with TemporaryDirectory(dir=path.parent) as folder:
        # without the one before beside it, which ours would take for a torn one
        alone = Path(folder) / path.name
        shutil.copyfile(path if path.exists() else fallback, alone)
        try:
            weights = io.load_checkpoint(alone)["weights"]
        except (InputError, RuntimeError, OSError, EOFError):
            return "torn"
    if len(weights) != FLOATS or bool((weights != weights[0]).any()):
        return "torn"
    return "whole" if path.exists() else "fallen back"


def one_save_s(io: CheckpointIO, path: Path) -> float:
    started = time.monotonic()
    for number in range(3):
        io.save_checkpoint(checkpoint(number), path)
    return (time.monotonic() - started) / 3


def torture(top: Path, kills: int, seed: int = 1) -> dict[str, Counter[str]]:
    """The ways by turns, `kills` times each; way -> how often each state was found."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        near = stack.enter_context(TemporaryDirectory(dir=top))
        ways: dict[str, tuple[CheckpointIO, Path | None]] = {
            "ours": (CheckedCheckpoints(), None),
            "Lightning, TMPDIR on the same disk": (TorchCheckpointIO(), Path(near)),
        }
        memory = Path("/dev/shm")
        if memory.is_dir() and memory.stat().st_dev != top.stat().st_dev:
            far = stack.enter_context(TemporaryDirectory(dir=memory))
            ways["Lightning, TMPDIR on another disk"] = (TorchCheckpointIO(), Path(far))
        stack.enter_context(redirect_stdout(None))  # each fallback says so
        rng, found = random.Random(seed), {name: Counter[str]() for name in ways}
        save_s = {name: one_save_s(io, top / "timed.ckpt") for name, (io, _) in ways.items()}
        for _ in range(kills):
            for name, (io, temporary) in ways.items():
                folder = top / "run"
                folder.mkdir()
                path = folder / "last.ckpt"
                killed(
                    partial(save_for_ever, io, path, temporary),
                    rng.uniform(0, SAVES * save_s[name]),
                )
                found[name][state_of(io, path)] += 1
                shutil.rmtree(folder)
                for litter in temporary.iterdir() if temporary else ():
                    litter.unlink()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="of each way")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with TemporaryDirectory() as top:
        found = torture(Path(top), args.kills, args.seed)
    for name, states in found.items():
        rest = ", ".join(f"{n} {state}" for state, n in sorted(states.items()) if state != "torn")
        print(f"{name:<36} {states['torn']:4} torn of {states.total()} kills ({rest})")
    return int(found["ours"]["torn"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
