"""Which of the processes that train together this is, and waiting for the first of them.

Two ways to start them: `torchrun`, which starts all at once, and `--devices`, with which Lightning
starts the others from the first when the training begins. Both leave their numbers in the
environment.
"""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from synth.errors import InputError

_PREPARATION = datetime.timedelta(hours=2)  # the first one trains the recogniser meanwhile


def started_together() -> bool:
    """True under torchrun, also with one process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "RANK" in os.environ


def rank() -> int:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0)))


def world(devices: int) -> int:
    """How many processes there are; `devices` is what was asked for where nothing has started."""
    return int(os.environ.get("WORLD_SIZE", devices))


def local_processes(devices: int) -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world(devices)))


def join(devices: int | None) -> None:
    """Raises InputError for a number of devices that this machine or torchrun does not give."""
    there = torch.cuda.device_count()
    if started_together():
        if devices not in (None, world(1)):
            raise InputError(f"--devices {devices}: torchrun started {world(1)} processes")
    elif devices is not None and devices < 1:
        raise InputError(f"--devices {devices}: must be at least 1")
    elif there and devices is not None and devices > there:
        raise InputError(f"--devices {devices}: there are {there} GPUs")
    if rank() > 0:  # what there is to say, the first one says
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if started_together() and world(1) > 1:
        if there:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if there else "gloo", timeout=_PREPARATION)


def wait_for_first() -> None:
    """Returns when the first process has come to its own call. Those that Lightning starts come
    after that anyway."""
    if dist.is_initialized():
        dist.barrier()
