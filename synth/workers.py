"""Work that several processes do and that is handed back in its order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from synth.errors import InputError

K = TypeVar("K")
R = TypeVar("R")


def in_order(
    task: Callable[..., R],
    items: Iterable[tuple[K, tuple[Any, ...]]],  # what comes back with the result, arguments
    workers: int,
    ahead: int,  # items under way or done, at most: bounds what is in memory
    start: Callable[..., None] | None = None,  # called with `given` in each new process
    given: tuple[Any, ...] = (),
) -> Iterator[tuple[K, R]]:
    """Yields each item's first part and its task's result, in the order of the items.

    An interrupt (Ctrl-C) is left to the parent. Raises InputError where a process is killed, and
    what a task raises; what is under way then, or when the caller stops, is called off.
    """
    # spawn: the same on every platform, and no lock of the parent's threads is inherited
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (start, given)) as pool:
        waiting: deque[tuple[K, Future[R]]] = deque()
        try:
            for key, arguments in items:
                with _interrupts_held():  # it may start a process
                    waiting.append((key, pool.submit(task, *arguments)))
                if len(waiting) >= ahead:
                    key, future = waiting.popleft()
                    yield key, future.result()
            while waiting:
                key, future = waiting.popleft()
                yield key, future.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed (no memory left?); try --workers 1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """SIGINT comes to this process afterwards, and to one that is started meanwhile not before
    `_begin`: until then it would end with a traceback of whatever it was importing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(start: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that has come meanwhile is dropped
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    if start is not None:
        start(*given)


def end_with_parent() -> None:
    """From now on this process ends when the one that started it does, even if that is killed. A
    pool's process holds the end of its own queue open and would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # it is a process that another one started
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
