"""Training on one process and on several that share each batch, by torchrun, on one machine.

Each contender is the command itself, started twice with different numbers of steps; the difference
is what the steps took, without imports, validation and writing. A round is all contenders in turn.
The exit code is 1 where two processes of one thread are slower than one; 2 where the same thing
twice differs by more than 10 % (A/A: the machine is too busy), or after fewer than 5 rounds: then
nothing was shown. What more processes than cores give is told, not judged.

    python benchmarks/train_processes.py [--rounds 5] [--processes 2 4] [--steps 20 60]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import machine, no_claim
from train_loop import made_store

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train_classifier.py"
PACKAGES = ("torch", "pytorch-lightning", "numpy")
SAME = 0.1  # A/A: the median may differ from 1 by this


def train(real: Path, out: Path, processes: int, threads: int, steps: int, batch: int) -> float:
    """Seconds of the whole command."""
    options = [
        *("--real", str(real), "--out", str(out), "--preset", "small", "--members", "1"),
        *("--steps", str(steps), "--batch-size", str(batch), "--threads", "1"),
    ]
    launch = [*("-m", "torch.distributed.run", "--standalone"), "--nproc-per-node", str(processes)]
    words = [sys.executable, *([*launch, "--"] if processes > 1 else []), str(SCRIPT), *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    spent = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stderr[-2000:]}")
    shutil.rmtree(out)
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--steps", type=int, nargs=2, default=[20, 60], metavar=("FEW", "MANY"))
    parser.add_argument("--batch-size", type=int, default=128, help="of all processes together")
    args = parser.parse_args()
    few, many = args.steps
    if not 0 < few < many or args.rounds < 1:
        parser.error("--steps FEW MANY: few before many; --rounds from 1")
    cores = len(os.sched_getaffinity(0))
    # processes, threads of each; the first is what the others are held against
    contenders = {"1 process": (1, 1), "1 process again": (1, 1)}
    contenders[f"1 process, {cores} threads"] = (1, cores)
    contenders |= {f"{n} processes": (n, 1) for n in args.processes}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    images = (many - few) * args.batch_size
    with tempfile.TemporaryDirectory() as folder:
        real, out = made_store(Path(folder) / "real").path, Path(folder) / "run"
        train(real, out, *contenders["1 process"], few, args.batch_size)  # files come from disk
        for turn in range(args.rounds):
            print(f"round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
            for name in list(contenders)[:: 1 if turn % 2 == 0 else -1]:
                spent = [
                    train(real, out, *contenders[name], n, args.batch_size) for n in args.steps
                ]
                if spent[1] <= spent[0]:
                    print(f"--steps {few} {many}: too close together to be told apart")
                    return 2
                rates[name].append(images / (spent[1] - spent[0]))
    print(f"{machine(PACKAGES)}; {args.rounds} rounds, batches of {args.batch_size}")
    print(f"{'':<24}{'images/s':>10}{'against 1 process':>20}")
    base = rates["1 process"]
    ratios = {
        name: [a / b for a, b in zip(found, base, strict=True)] for name, found in rates.items()
    }
    for name, found in rates.items():
        times = ratios[name]
        print(
            f"{name:<24}{statistics.median(found):>10,.0f}{statistics.median(times):>8.2f} "
            f"({min(times):.2f} to {max(times):.2f})"
        )
    if no_claim(args.rounds):
        return 2
    if abs(statistics.median(ratios["1 process again"]) - 1) > SAME:
        print("A/A failed: the machine is too busy for this to mean anything")
        return 2
    slower = "2 processes" in ratios and statistics.median(ratios["2 processes"]) < 1
    return int(slower and cores > 1)


if __name__ == "__main__":
    raise SystemExit(main())
