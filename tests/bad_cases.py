"""Damaged copies of good files, tried in a process of their own with bounded memory and time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from synth.canvas import NO_MEMORY
from synth.errors import InputError

Case = tuple[str, Any]  # what it is, what the action gets
# By the clock, of a case that waits. What one computes is bounded in processor time: on a busy
# machine the clock goes on meanwhile.
WALL_S = 60.0
COUNTED_IN = "INKFILL_BAD_CASES"  # environment: a file that gets a line for each bad case tried


def mutations(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies: cut, bits turned, bytes replaced, doubled, moved, and fields of 1, 2
    or 4 bytes set to what breaks sizes and offsets. Most hit the first 200 bytes, where headers
    are. What came out unchanged gets a byte at its end."""
    rng = np.random.default_rng([seed, len(data)])
    for number in range(count):
        raw = bytearray(data)
        within = min(len(raw), 200) if rng.random() < 0.6 else len(raw)
        at = int(rng.integers(within))
        span = int(rng.integers(1, 65))
        match number % 7:
            case 0:
                del raw[at:]
            case 1:
                for _ in range(int(rng.integers(1, 9))):
                    raw[int(rng.integers(within))] ^= 1 << int(rng.integers(8))
            case 2:
                raw[at : at + span] = rng.integers(0, 256, span, np.uint8).tobytes()
            case 3:
                raw[at : at + span] = bytes(span)
            case 4:
                width = int(rng.choice([1, 2, 4]))
                value = [0, 1, 127, 128, 255][int(rng.integers(5))]
                raw[at : at + width] = bytes([value]) * width
            case 5:
                raw[at:at] = raw[at : at + span]
            case 6:
                to = int(rng.integers(len(raw)))
                raw[to : to + span] = raw[at : at + span]
        if raw == data:
            raw.append(0)
        yield f"mutation {number} of seed {seed}", bytes(raw)


def tried(family: str, case: object) -> None:
    """For `count_bad_cases.py`: a line with the family, and a digest to tell equal cases by."""
    if place := os.environ.get(COUNTED_IN):
        digest = hashlib.sha256(repr(case).encode("utf-8", "surrogatepass")).hexdigest()[:24]
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{family}\t{digest}\n")


def outcome(action: Callable[[Any], str], case: Any) -> str:
    """What became of a case: the action's own words, or "refused" for an InputError of one line.

    Any other error is the action's fault and goes on.
    """
    try:
        return action(case)
    except InputError as error:
        assert str(error) and "\n" not in str(error), f"not one line: {str(error)!r}"
        assert NO_MEMORY not in str(error), "wants more memory than it may have"
        return "refused"


def try_all(
    action: Callable[[Any], str],  # a module's function: says what became of a case
    cases: Sequence[Case],
    memory_mib: int,  # that all cases may take beyond what the process has at its start
    each_s: float = 5.0,  # of processor time
    good: bool = False,  # whole files, tried first: no bad cases to be counted
    wall_s: float = WALL_S,
) -> Counter[str]:
    """How many cases ended in each `outcome`.

    Raises AssertionError naming the case that ended in another error, a crash, a hang or too much
    memory.
    """
    outcomes: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_child, args=(there, action, cases, memory_mib, each_s, wall_s)
    )
    process.start()
    there.close()
    number = -1
    try:
        for number in range(len(cases)):
            what, trouble = here.recv()
            if trouble:
                raise AssertionError(f"{cases[number][0]}: {trouble}")
            outcomes[what] += 1
            if not good:
                tried(action.__module__, cases[number][1])
    except EOFError:
        process.join()
        code = process.exitcode
        late = code in (-signal.SIGALRM, -signal.SIGPROF)
        what = "hangs" if late else f"ends the process with {code}"
        raise AssertionError(f"{cases[number][0]}: {what}") from None
    finally:
        here.close()
        process.join()
    return outcomes


def _child(
    pipe: Connection,
    action: Callable[[Any], str],
    cases: Sequence[Case],
    memory_mib: int,
    each_s: float,
    wall_s: float,
) -> None:
    import traceback

    with open("/proc/self/statm") as f:  # noqa: PTH123
        held = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = held + memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # ends the process
    more_s = 120.0  # for the first, which may have late imports to wait for
    for _, data in cases:
        signal.setitimer(signal.ITIMER_PROF, each_s + more_s)
        signal.setitimer(signal.ITIMER_REAL, wall_s + more_s)
        try:
            what, trouble = outcome(action, data), ""
        except BaseException:
            what, trouble = "", traceback.format_exc()
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        more_s = 0.0
        pipe.send((what, trouble))
        if trouble:
            return
