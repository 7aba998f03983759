"""Do synthetic characters help? Runs every arm of a study with the project's own commands, and
writes a table with intervals, pictures and a page.

The same command goes on where it stopped: what is finished is not done again.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jsonargparse import ArgumentParser, Namespace

from synth.command import cores, parser, run
from synth.errors import InputError

if TYPE_CHECKING:
    from classifier.study.runner import Ended, Runner

SCRIPTS = Path(__file__).resolve().parent


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/study.py --out runs/study --images hwdb99=IMAGES")
    p.add_argument(
        "--grid",
        type=Path,
        default=SCRIPTS.parent / "studies" / "default.yaml",
        help="YAML file: data, arms, seeds; default: studies/default.yaml, meant for 90 minutes on "
        "2 cores; studies/sample.yaml is a small one on simulated data, studies/full.yaml the "
        "whole comparison",
    )
    p.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    p.add_argument(
        "--images",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where the images of a data set of the grid are, in place of what the file says; once "
        "for each set",
    )
    p.add_argument(
        "--workers", type=int | None, help="commands at once; default: one for each core"
    )
    p.add_argument(
        "--plan", action="store_true", help="only print the commands that are still to be run"
    )
    p.add_argument(
        "--page-only", action="store_true", help="run nothing, write the page of what is there"
    )
    return p


def main(args: Namespace) -> None:
    from classifier.study.grid import Study
    from classifier.study.page import write_page
    from classifier.study.plan import plan, refuse_missing
    from classifier.study.results import rows_of
    from classifier.study.runner import Runner

    study = Study.read(args.grid).with_images(args.images)
    jobs, trained = plan(study, args.out)
    workers = cores() if args.workers is None else args.workers
    runner = Runner(jobs, args.out, [sys.executable], SCRIPTS, workers)
    if args.plan:
        import shlex

        done = runner.done()
        for job in jobs:
            if job.name not in done:
                print(f"python scripts/{shlex.join(job.words)}")
        return
    ended = None
    if not args.page_only:
        refuse_missing(study, jobs, runner.done())
        ended = _run(runner, args.out)
    runner.done()  # refuses what was made with other options, or from what was made anew
    rows = rows_of(trained, runner)
    if rows:
        files = write_page(study, rows, args.out / "page", len(trained))
        print("\n".join(str(file) for file in files))
    if ended and ended.failed:
        raise InputError(
            f"{len(ended.failed)} commands failed, {len(ended.waiting)} wait for them; "
            f"see {runner.logs / ended.failed[0]}.log"
        )
    if not rows:
        raise InputError(f"{args.out}: no finished run yet")


def _run(runner: Runner, out: Path) -> Ended:
    """Raises InputError where another process runs this study."""
    from synth.store import lock_output

    lock = lock_output(out)
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        return runner.run()
    finally:
        signal.signal(signal.SIGTERM, before)
        lock.release()


def _stopped(number: int, _: object) -> NoReturn:
    """An end on the way that calls off the commands."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
