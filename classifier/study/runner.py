"""Runs commands side by side, each once, and goes on where it was stopped.

A job is done when its output stands, which every command writes last. A record keeps its command
line, what that leaves to a preset, its seconds, when it ended, and when those that it needs had
ended: a result that was made by another command, or from something that was made anew since, is
refused and not mixed with others; so is, before more is run, one whose preset held other values
(an older version's, or another machine's). An output without a record, which was made elsewhere and
copied, is taken as it is.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from classifier.study.plan import Job
from classifier.study.presets import left_to_preset
from synth.command import cores
from synth.errors import InputError
from synth.files import write_text

_POLL_S = 0.2
_KEEP_S = 30.0  # between two records of a running command's time: so much a kill may lose
_LIBC = ctypes.PyDLL(None)
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Ended:
    """What became of the jobs."""

    done: tuple[str, ...]
    failed: tuple[str, ...]
    waiting: tuple[str, ...]  # for one that failed


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float
    earlier_s: float  # what earlier starts of the same command took
    kept: float  # when its time was last recorded

    @property
    def seconds(self) -> float:
        return self.earlier_s + time.monotonic() - self.started


class Runner:
    """The jobs of one study."""

    def __init__(
        self,
        jobs: Sequence[Job],
        out: Path,  # records and logs go here
        call: Sequence[str],  # what stands before a script's path, the interpreter
        scripts: Path,  # their folder
        workers: int,  # commands at once
    ) -> None:
        if workers < 1:
            raise InputError(f"--workers {workers}: at least 1")
        self.jobs = {job.name: job for job in jobs}
        self.records, self.logs = out / "records", out / "logs"
        self._call, self._scripts, self._workers = list(call), scripts, workers

    def seconds(self, name: str) -> float | None:
        """How long a job took, over all its starts; None: not known."""
        record = self._record(name)
        return record["seconds"] if record else None

    def run(self) -> Ended:
        """Does what is not done. A job that fails holds up only those that need its output.

        Raises InputError, before anything runs, where a result is not what this study would make.
        """
        for folder in (self.records, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        done = self.done(to_go_on=True)
        left = [job for name, job in self.jobs.items() if name not in done]
        failed: list[str] = []
        running: list[_Running] = []
        print(f"{len(done)} of {len(self.jobs)} commands are done already", flush=True)
        try:
            while True:
                for job in [j for j in left if done.issuperset(j.needs)]:
                    if len(running) < self._workers:
                        left.remove(job)
                        running.append(self._start(job))
                if not running:
                    break
                time.sleep(_POLL_S)
                for one in running:
                    if time.monotonic() - one.kept >= _KEEP_S:
                        one.kept = time.monotonic()
                        self._keep(one.job, one.seconds)
                for one in [r for r in running if r.process.poll() is not None]:
                    running.remove(one)
                    good = self._end(one)
                    (done.add if good else failed.append)(one.job.name)
                    self._tell(one, good, len(done), left, running)
        finally:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.wait()
                self._keep(one.job, one.seconds)
                one.log.close()
        return Ended(tuple(sorted(done)), tuple(failed), tuple(job.name for job in left))

    def _record(self, name: str) -> dict[str, Any] | None:
        path = self.records / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def done(self, to_go_on: bool = False) -> set[str]:
        """Names of the jobs whose output stands. Raises InputError naming the results that are not
        what this study would make; `to_go_on`: or not what this version and machine would."""
        there = {name for name, job in self.jobs.items() if job.is_done}
        found = {name: self._stale(self.jobs[name], to_go_on) for name in sorted(there)}
        stale = {name: why for name, why in found.items() if why}
        if stale:
            first, *more = stale
            told = f"; so it is with {len(more)} more: {', '.join(more)}" if more else ""
            raise InputError(stale[first] + told)
        return there

    def _stale(self, job: Job, to_go_on: bool) -> str:
        """Why a result may not be used, and the way out; "": it may."""
        if (record := self._record(job.name)) is None:
            return ""
        again = (
            f"remove {job.done.parent} and {self.records / job.name}.json, or take another --out"
        )
        if record["words"] != list(job.words):
            return (
                f"{job.done} was made by {shlex.join(record['words'])}, not by "
                f"{shlex.join(job.words)}; {again}"
            )
        was, now = record.get("preset") or {}, left_to_preset(job.words) if to_go_on else {}
        if to_go_on and was != now:
            told = [
                f"{k} {was.get(k, 'not known')}, now {now.get(k, 'gone')}"
                for k in {**now, **was}
                if was.get(k) != now.get(k)
            ]
            return f"{job.done} was made with other presets ({', '.join(told[:3])}); {again}"
        for need, ended in record["made_from"].items():
            if self._ended(need) != ended:
                return f"{job.done}: {need} was made anew since; {again}"
        return ""

    def _ended(self, name: str) -> float | None:
        record = self._record(name)
        return record["ended"] if record else None

    def _start(self, job: Job) -> _Running:
        before = self._record(job.name)
        earlier_s = 0.0
        if before and before["words"] == list(job.words):
            earlier_s = before["seconds"]
        self._keep(job, earlier_s)
        log = (self.logs / f"{job.name}.log").open("ab")
        threads = str(max(1, cores() // self._workers))
        words = [*self._call, str(self._scripts / job.words[0]), *job.words[1:]]
        print(f"start {job.name}", flush=True)
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": threads},
            preexec_fn=partial(_end_with, os.getpid()),
        )
        now = time.monotonic()
        return _Running(job, process, log, now, earlier_s, now)

    def _end(self, one: _Running) -> bool:
        one.log.close()
        self._keep(one.job, one.seconds, ended=True)
        return one.process.returncode == 0 and one.job.is_done

    def _keep(self, job: Job, seconds: float, ended: bool = False) -> None:
        """Writes the record; `seconds` are of all starts of the same command."""
        record = {
            "words": list(job.words),
            "preset": left_to_preset(job.words),
            "seconds": seconds,
            "ended": time.time() if ended else None,
            "made_from": {need: self._ended(need) for need in job.needs},
        }
        text = json.dumps(record, ensure_ascii=False, indent=1)
        write_text(self.records / f"{job.name}.json", text)

    def _tell(
        self, one: _Running, good: bool, done: int, left: list[Job], running: list[_Running]
    ) -> None:
        took = time.monotonic() - one.started
        if not good:
            lines = (self.logs / f"{one.job.name}.log").read_text("utf-8", "replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            print(f"FAILED {one.job.name}: {last[-300:]}", file=sys.stderr, flush=True)
            return
        left_s = self._left_s(left, running)
        print(
            f"[{done}/{len(self.jobs)}] {one.job.name}: {took:.0f} s"
            + (f"; about {left_s / 60:.0f} min left" if left or running else ""),
            flush=True,
        )

    def _left_s(self, left: list[Job], running: list[_Running]) -> float:
        """From the mean time of finished jobs of each kind; a kind with none takes that of all."""
        times: dict[str, list[float]] = {}
        for name, job in self.jobs.items():
            if job.is_done and (seconds := self.seconds(name)):
                times.setdefault(job.kind, []).append(seconds)
        every = [s for kind in times.values() for s in kind] or [0.0]

        def expected(kind: str) -> float:
            mine = times.get(kind, every)
            return sum(mine) / len(mine)

        now = time.monotonic()
        rest = [max(0.0, expected(r.job.kind) - (now - r.started)) for r in running]
        rest += [expected(job.kind) for job in left]
        return max(sum(rest) / self._workers, max(rest, default=0.0))


def _end_with(parent: int) -> None:
    """In a command's process, before it is the command: Linux kills it when this one ends, however
    that comes about. The same study can go on then, and finds no output that is being written."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
