"""Work that several processes do and that is handed back in its order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from synth.errors import InputError

K = TypeVar("K")
R = TypeVar("R")


def in_order(
    task: Callable[..., R],
    items: Iterable[tuple[K, tuple[Any, ...]]],  # what comes back with the result, arguments
    workers: int,  # with `here` from 2
    ahead: int,  # items under way or done, at most: bounds what is in memory
    start: Callable[..., None] | None = None,  # called with `given` in each new process
    given: tuple[Any, ...] = (),
    here: Callable[..., R] | None = None,  # the task as this process does it; None: it only waits
) -> Iterator[tuple[K, R]]:
    """Yields each item's first part and its task's result, in the order of the items.

    With `here` this process is one of the workers: while the others start, and whenever it would
    wait for the next result, it does what none of them has begun.

    An interrupt (Ctrl-C) is left to the parent. Raises InputError where a process is killed, and
    what a task raises; what is under way then, or when the caller stops, is called off.
    """
    # spawn: the same on every platform, and no lock of the parent's threads is inherited
    context = multiprocessing.get_context("spawn")
    others = workers if here is None else workers - 1
    with (
        _shared((start, given)) as place,
        ProcessPoolExecutor(others, context, _begin, (place,)) as pool,
    ):
        waiting: deque[_Item[K, R]] = deque()
        try:
            with _interrupts_held():  # each starts a process; else an item does when it comes
                starting = [pool.submit(_nothing) for _ in range(others) if here]
            for key, arguments in items:
                if here is not None and not any(one.done() for one in starting):
                    yield key, here(*arguments)
                    continue
                with _interrupts_held():
                    waiting.append(_Item(key, arguments, pool.submit(task, *arguments)))
                if len(waiting) >= ahead:
                    yield _first(waiting, here)
            while waiting:
                yield _first(waiting, here)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed (no memory left?); try --workers 1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass
class _Item(Generic[K, R]):
    key: K
    arguments: tuple[Any, ...]
    future: Future[R]


def _first(waiting: deque[_Item[K, R]], here: Callable[..., R] | None) -> tuple[K, R]:
    """Takes the first off, when its result is there."""
    while here is not None and not waiting[0].future.done():
        free = next((item for item in waiting if item.future.cancel()), None)
        if free is None:  # the others have begun all
            break
        free.future = Future()
        free.future.set_result(here(*free.arguments))
    item = waiting.popleft()
    return item.key, item.future.result()


def _nothing() -> None:
    """Is done when a process has started."""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """SIGINT comes to this process afterwards, and to one that is started meanwhile not before
    `_begin`: until then it would end with a traceback of whatever it was importing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _shared(value: object) -> Iterator[str]:
    """Yields a path that other processes unpickle it from, until the context ends.

    In memory, and gone with this process. As an argument of a process's first function it would
    hold this one up until that process has imported all it needs, and so one after the other.
    """
    with os.fdopen(os.memfd_create("inkfill"), "wb") as file:
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _begin(place: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that has come meanwhile is dropped
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    start, given = pickle.loads(Path(place).read_bytes())
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
