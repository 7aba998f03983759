"""What docs/SCALE.md says of several machines, each machine a process here: the same commands."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from safetensors.torch import load_file
from test_classifier_processes import COMMAND
from test_classifier_train import _store

from synth.store import Store

OPTIONS = [
    *("--real", "real", "--synth", "font", "--steps", "4", "--batch-size", "16"),
    *("--precision", "32-true", "--members", "1"),
]


def _on_a_free_port(go: Callable[[int], None], tries: int = 3) -> None:
    """go(port), again with another port where somebody took it before `go` did."""
    for left in reversed(range(tries)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            go(port)
            return
        except AssertionError as error:
            if not left or not re.search("address already in use", str(error), re.IGNORECASE):
                raise


def test_another_port_is_tried_where_one_was_taken_meanwhile():
    ports = []

    def go(port: int, why: str) -> None:
        ports.append(port)
        raise AssertionError(why)

    taken = "The server socket has failed to bind: Address already in use"
    with pytest.raises(AssertionError, match="in use"):
        _on_a_free_port(lambda port: go(port, taken))
    assert len(ports) == 3
    with pytest.raises(AssertionError, match="another reason"):
        _on_a_free_port(lambda port: go(port, "another reason"))
    assert len(ports) == 4
    _on_a_free_port(ports.append)
    assert len(ports) == 5 and all(1 <= port <= 65535 for port in ports)


def _all(commands: list[list[str]], place: Path, each: list[dict[str, str]]) -> None:
    """Starts them together; all end well."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, *words],
            cwd=place,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words, more in zip(commands, each, strict=True)
    ]
    try:
        for process in started:
            said, _ = process.communicate(timeout=600)
            assert process.returncode == 0, said[-9000:]
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two stores, and a run by two processes on one machine."""
    place = tmp_path_factory.mktemp("machines")
    _store(place / "real", "real", "ABC", 15)
    _store(place / "font", "font", "ABCXYZ", 12)
    (place / "command.py").write_text(COMMAND, "utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    _all([[*launch, "command.py", *OPTIONS, "--out", "one_machine"]], place, [{}])
    return place


def _is_that_of_one_machine(place: Path, out: str, nodes: int) -> None:
    wanted, got = (load_file(place / name / "model.safetensors") for name in ("one_machine", out))
    apart = max(float((wanted[k].float() - got[k].float()).abs().max()) for k in wanted)
    assert apart < 1e-5  # the same batches, halves and sums
    info = json.loads((place / out / "model.json").read_text())["info"]
    assert (info["processes"], info["nodes"]) == (2, nodes)


@pytest.mark.slow
def test_torchrun_on_two_machines(place):
    """The same line on both; neither knows which is the first."""

    def go(port: int) -> None:
        line = [
            *("-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--"),
            *("command.py", *OPTIONS, "--out", "two_machines"),
        ]
        _all([line, line], place, [{}, {}])

    _on_a_free_port(go)
    _is_that_of_one_machine(place, "two_machines", 2)


@pytest.mark.slow
def test_srun_on_two_machines(place):
    """There is no SLURM here: only the variables that it gives each of its tasks."""
    shared = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_LOCALID": "0",
    }
    line = ["command.py", *OPTIONS, "--out", "slurm"]

    def go(port: int) -> None:
        each = [
            shared | {"MASTER_PORT": str(port), "SLURM_PROCID": n, "SLURM_NODEID": n} for n in "01"
        ]
        _all([line, line], place, each)

    _on_a_free_port(go)
    _is_that_of_one_machine(place, "slurm", 2)


@pytest.mark.slow
def test_shares_of_the_classes_generated_on_two_machines(tmp_path):
    """By the lines of docs/SCALE.md: a quota for each, and a seed."""
    from tiny_gan import real_store

    chars = "一國永"
    real = real_store(tmp_path / "real", chars, {"國": 9, "永": 3}).path
    tiny = [str(ROOT / "tests" / "tiny_gan.py"), "--whole", str(real), str(tmp_path / "run"), "1"]
    _all([tiny], tmp_path, [{}])
    lines, shares = [], [chars[::2], chars[1::2]]
    for number, share in enumerate(shares, 1):
        quota = tmp_path / f"share{number}.csv"
        quota.write_text("label,images\n" + "".join(f"{c},4\n" for c in share), "utf-8")
        lines.append(
            [
                *(str(ROOT / "scripts" / "train_gan.py"), "--generate-only", "--run", "run"),
                *("--quota", quota.name, "--seed", str(100 + number), "--out", f"share{number}"),
            ]
        )
    _all(lines, tmp_path, [{}, {}])
    for number, share in enumerate(shares, 1):
        labels = Store.open(tmp_path / f"share{number}").column("label").tolist()
        assert labels and set(labels) <= set(share)
