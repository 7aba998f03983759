"""Work by several processes, handed back in order."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from synth.errors import InputError
from synth.workers import in_order

_given = 0


def _start(given: int) -> None:
    global _given
    _given = given


def _late_first(i: int) -> tuple[int, int]:
    time.sleep(0.05 if i == 0 else 0)
    return i * i, _given


def _die(i: int) -> int:
    if i == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def _raise(i: int) -> int:
    raise KeyError(i)


def test_results_come_in_the_order_of_the_items_and_workers_know_what_was_given() -> None:
    taken = in_order(_late_first, ((str(i), (i,)) for i in range(9)), 2, 3, _start, (7,))
    assert list(taken) == [(str(i), (i * i, 7)) for i in range(9)]


def _whose(i: int, where: str = "another") -> tuple[int, str]:
    time.sleep(0.01)
    return i, where


def test_this_process_is_a_worker_too_and_the_order_stays() -> None:
    taken: list[tuple[str, tuple[int, str]]] = []
    at: list[str] = []
    ends = time.monotonic() + 120

    def items():
        for i in itertools.count():
            if at.count("another") >= 40 or time.monotonic() > ends:
                return
            yield str(i), (i,)

    for result in in_order(_whose, items(), 2, 4, here=partial(_whose, where="this one")):
        taken.append(result)
        at.append(result[1][1])
    assert [(key, i) for key, (i, _) in taken] == [(str(i), i) for i in range(len(taken))]
    assert at[0] == "this one"  # the other is still starting
    assert "this one" in at[at.index("another") :]  # from then on both work


def test_what_is_taken_over_from_the_others_raises_here() -> None:
    def here(i: int) -> int:
        raise KeyError(i)

    with pytest.raises(KeyError, match="0"):
        list(in_order(_raise, [(0, (0,))], 2, 1, here=here))


def test_no_more_items_are_taken_than_may_be_under_way() -> None:
    taken: list[int] = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i, (i,)

    results = in_order(_die, ((k, (9,)) for k, _ in items()), 2, 4)
    assert next(results) == (0, 9)
    assert len(taken) == 4
    results.close()
    assert len(taken) == 4


def test_a_killed_worker_is_named_and_what_a_task_raises_comes_through() -> None:
    with pytest.raises(InputError, match="--workers 1"):
        list(in_order(_die, ((i, (i,)) for i in range(50)), 2, 4))
    with pytest.raises(KeyError):
        list(in_order(_raise, [(0, (0,))], 1, 1))


def _wait(i: int) -> int:
    time.sleep(600)
    return i


STUCK = """
from test_synth_workers import _wait
from synth.workers import in_order
if __name__ == "__main__":
    list(in_order(_wait, ((i, (i,)) for i in range(4)), 2, 4))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK, encoding="utf-8")
    here = Path(__file__).parent
    path = f"{here}{os.pathsep}{here.parent}"
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "stuck.py"], env=os.environ | {"PYTHONPATH": path}
    )
    try:
        until(lambda: len(workers_of(parent.pid)) == 2)
        workers = workers_of(parent.pid)
        time.sleep(0.5)  # they are at work
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(lives(pid) for pid in workers))


def _square(i: int) -> int:
    return i * i


# a worker imports the file that was run before it does anything else
STARTING = """
import os, sys, time
from pathlib import Path
from test_synth_workers import _square
from synth.workers import in_order
if __name__ == "__mp_main__":
    Path(sys.argv[1], str(os.getpid())).touch()
    while not Path(sys.argv[1], "go").exists():
        time.sleep(0.05)
if __name__ == "__main__":
    try:
        print([n for _, n in in_order(_square, ((i, (i,)) for i in range(4)), 2, 4)])
    except KeyboardInterrupt:
        sys.exit("stopped")
"""


@pytest.mark.parametrize("who", ["the workers", "all"])
def test_an_interrupt_while_the_workers_start_is_the_parents_business(
    tmp_path: Path, who: str
) -> None:
    """They told where in their imports it had come."""
    (tmp_path / "starting.py").write_text(STARTING, encoding="utf-8")
    here, begun = Path(__file__).parent, tmp_path / "begun"
    begun.mkdir()
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "starting.py", begun],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until(lambda: len(list(begun.iterdir())) == 2 or parent.poll() is not None, 300)
        if who == "all":  # as Ctrl-C in a terminal does
            os.killpg(parent.pid, signal.SIGINT)
        else:
            for worker in begun.iterdir():
                os.kill(int(worker.name), signal.SIGINT)
        (begun / "go").touch()
        said, errors = parent.communicate(timeout=300)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
    wanted = ("", "stopped\n", 1) if who == "all" else ("[0, 1, 4, 9]\n", "", 0)
    assert (said, errors, parent.returncode) == wanted


def until(met: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def stat(pid: int) -> list[str]:
    """State, parent and so on; ["Z", "0"] where there is none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]


def lives(pid: int) -> bool:
    return stat(pid)[0] not in "ZX"  # a dead one that nobody asked about


def workers_of(parent: int) -> list[int]:
    """Processes of the pool, without the one that keeps count of resources."""
    found = [
        int(p.name) for p in Path("/proc").glob("[0-9]*") if stat(int(p.name))[1] == str(parent)
    ]
    return [p for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
