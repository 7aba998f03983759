"""Kills commands at random moments, runs them again, and compares with an unbroken run.

    python tests/kill_harness.py            136 kills: the six commands, predict in three formats
    python tests/kill_harness.py --kills 3  three of each

A killed run is a fork of a process that has the heavy imports behind it, so that a kill falls into
the work and not into the start. The unbroken run is a process of its own, with another hash seed.
After every kill, what looks finished must equal the unbroken run; after the last, so must all.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import write_images

HERE = Path(__file__).resolve()
SCRIPTS = HERE.parent.parent / "scripts"


@dataclass(frozen=True)
class Stage:
    """One command in its smallest form, run in a folder of its own, writing to `out...`."""

    name: str
    script: str
    arguments: str  # {given}: the folder with what earlier stages made
    outputs: tuple[str, ...]  # what must be equal, to the byte
    finished: str  # there only when the output claims to be whole
    resumes: bool = False  # goes on where it stopped; the same command ends well after the end too


_MORE = {"checkpoints", "tensorboard"}  # folders of a run: a file more for each start


FONTS = ("caveat.woff", "kalam.woff", "architects-daughter.woff")
STORE = ("out/images.npy", "out/samples.parquet", "out/store.json")
GAN = "--real {given}/real --preset demo --steps 12 --batch-size 8 --recogniser-steps 30"
SAMPLES = tuple(f"out/samples/{Path(name).name}" for name in STORE)
STAGES = (
    Stage("import", "import_data", "{given}/images --out out --workers 2", STORE, STORE[2]),
    Stage(
        "render",
        "render_fonts",
        "--real {given}/real --out out --per-class 60 --other 200 --other-chars 10 --workers 2",
        STORE,
        STORE[2],
    ),
    Stage(
        "GAN",
        "train_gan",
        GAN + " --per-class 40 --other 20 --out out",
        (
            "out/generator.safetensors",
            "out/generator.json",
            "out/recogniser.safetensors",
            "out/trusted.npy",
            *SAMPLES,
        ),
        SAMPLES[2],
        resumes=True,
    ),
    Stage(
        "generate",
        "train_gan",
        "--generate-only --run {given}/gan --per-class 120 --out out",
        STORE,
        STORE[2],
    ),
    Stage(
        "classifier",
        "train_classifier",
        "--real {given}/real --synth {given}/font --preset demo --steps 60 --batch-size 16 "
        "--precision 32-true --members 2 --out out",
        ("out/model.safetensors", "out/model.json", "out/predictions_val.parquet", "out/mix.txt"),
        "out/metrics.json",
        resumes=True,
    ),
    *(
        Stage(
            f"predict {form}",
            "predict",
            "--model {given}/classifier --images {given}/images {given}/font --workers 1 "
            f"--out out.{form}",
            (f"out.{form}", f"out.{form}.skipped"),
            f"out.{form}",
        )
        for form in ("csv", "jsonl", "parquet")
    ),
)


def command(stage: Stage, given: Path) -> int:
    """The script's own way from arguments to exit code, with checkpoints often."""
    from dataclasses import replace

    import classifier.config
    import gan.config
    import synth.fonts
    from synth.command import run

    synth.fonts.ASSETS = given / "fonts"  # few: checking all takes longer than the rest
    gan.config.PRESETS["demo"] = replace(
        gan.config.PRESETS["demo"], checkpoint_every=3, grid_every=6, recogniser_batch=16
    )
    classifier.config.PRESETS["demo"] = replace(
        classifier.config.PRESETS["demo"], steps_per_epoch=10, threads=1
    )
    spec = importlib.util.spec_from_file_location("script", SCRIPTS / f"{stage.script}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return run(script.options(), script.main, stage.arguments.format(given=given).split())


@contextmanager
def forked(stage: Stage, given: Path, cwd: Path) -> Iterator[int]:
    """The command in a fork, its words in `cwd`.log. Yields the process id."""
    pid = os.fork()
    if pid:
        yield pid
        return
    code = 70
    try:
        log = os.open(cwd.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(cwd)
        import numpy as np
        import torch

        # a process of its own would have other global generators
        random.seed()
        np.random.seed()  # noqa: NPY002
        torch.manual_seed(random.getrandbits(60))
        code = command(stage, given)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def unbroken(stage: Stage, given: Path, cwd: Path) -> None:
    """In a process of its own."""
    cwd.mkdir()
    done = subprocess.run(
        [sys.executable, HERE, "--one", stage.name, "--given", given],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{stage.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def differing(stage: Stage, wanted: Path, cwd: Path) -> list[str]:
    """Outputs that are not those of the unbroken run."""
    return [
        name
        for name in stage.outputs
        if not (cwd / name).is_file() or (cwd / name).read_bytes() != (wanted / name).read_bytes()
    ]


def left_over(stage: Stage, wanted: Path, cwd: Path) -> list[str]:
    """Files that the unbroken run has not got."""
    there, awaited = ({p.relative_to(top) for p in top.rglob("*")} for top in (cwd, wanted))
    return sorted(str(p) for p in there - awaited if not (stage.resumes and _MORE & {*p.parts}))


def ended_well(stage: Stage, code: int) -> bool:
    """Of the exit code of the last start: a store that was whole when the kill came is refused by
    name the next time."""
    return code == 0 or (code == 2 and not stage.resumes)


def torture(
    stage: Stage, given: Path, wanted: Path, top: Path, kills: int, rng: random.Random
) -> tuple[int, list[str]]:
    """Kills until `kills` have hit a running command. Returns how many runs were ended after them,
    and the faults, each in a line."""
    faults: list[str] = []
    cwd = top / "measured"
    cwd.mkdir()
    started = time.monotonic()
    with forked(stage, given, cwd) as pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    whole_s = time.monotonic() - started
    if code or (different := differing(stage, wanted, cwd)):
        return 0, [f"{stage.name}: unbroken in a fork: exit {code}, different: {different}"]
    done = trial = ended = 0
    while done < kills:
        trial += 1
        cwd = top / f"trial{trial}"
        cwd.mkdir()
        in_trial = min(rng.randint(1, 3), kills - done)
        while True:
            with forked(stage, given, cwd) as pid:
                if in_trial:
                    time.sleep(rng.uniform(0, whole_s))
                    os.kill(pid, signal.SIGKILL)
                    in_trial -= 1
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code != -signal.SIGKILL:
                break
            done += 1
            if (cwd / stage.finished).exists() and (bad := differing(stage, wanted, cwd)):
                faults.append(f"{stage.name}, trial {trial}: killed, looks whole, differs: {bad}")
        if not ended_well(stage, code) or (bad := differing(stage, wanted, cwd)):
            log = cwd.with_suffix(".log").read_text(errors="replace").strip()[-1500:]
            bad = differing(stage, wanted, cwd)
            faults.append(f"{stage.name}, trial {trial}: exit {code}, differs: {bad}\n{log}")
        if extra := left_over(stage, wanted, cwd):
            faults.append(f"{stage.name}, trial {trial}: left over: {extra}")
        ended += 1
        shutil.rmtree(cwd)
    return ended, faults


def harness(kills: int, top: Path, names: list[str], seed: int) -> list[str]:
    """The stages in order, each on what the unbroken ones before it made. Returns the faults."""
    import pytorch_lightning  # noqa: F401  before the forks
    import torch

    import classifier.train  # noqa: F401
    import gan.train  # noqa: F401

    torch.set_num_threads(1)  # threads do not survive a fork
    given = top / "given"
    images = write_images(given / "images", {"A": 60, "B": 40, "C": 20, "other": 60})
    (images / "A" / "broken.png").write_bytes(b"no image")
    (images / "B" / "cut.png").write_bytes((images / "B" / "000.png").read_bytes()[:100])
    (given / "fonts").mkdir()
    for name in FONTS:
        shutil.copy(SCRIPTS.parent / "assets" / "fonts" / name, given / "fonts")
    place = {"import": "real", "render": "font", "GAN": "gan", "classifier": "classifier"}
    rng, faults, total = random.Random(seed), [], 0
    for stage in STAGES:
        wanted = top / f"unbroken-{stage.name}"
        unbroken(stage, given, wanted)
        if stage.name in place:
            shutil.copytree(wanted / "out", given / place[stage.name])
        if stage.name not in names:
            continue
        work = top / stage.name
        work.mkdir()
        started = time.monotonic()
        ended, found = torture(stage, given, wanted, work, kills, rng)
        total += kills
        faults += found
        print(
            f"{stage.name:<15} {kills} kills in {ended} runs, {len(found)} faults, "
            f"{time.monotonic() - started:.0f} s",
            *found,
            sep="\n",
            flush=True,
        )
    print(f"{total} kills, {len(faults)} faults")
    return faults


def _from_1(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}: a number from 1")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=_from_1, default=17, help="of each command")
    names = [s.name for s in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--given", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return command(next(s for s in STAGES if s.name == args.one), args.given)
    with tempfile.TemporaryDirectory() as top:
        return 1 if harness(args.kills, Path(top), args.stages, args.seed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
