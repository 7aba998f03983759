"""Work by several processes, handed back in order."""

from __future__ import annotations

import os
import signal
import time

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
