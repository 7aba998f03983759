"""Batches: everyone gets the own answer, nobody waits for company, nobody hangs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from classifier.serve.batching import Batcher
from classifier.serve.limits import Gate, Limits, Refused
from synth.errors import InputError


def numbered(*numbers: int) -> np.ndarray:
    """[n, 2, 2] uint8: images that carry a number."""
    return np.array(numbers, np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)


def double(images: np.ndarray) -> np.ndarray:
    return images[:, 0, :1].astype(np.float32) * 2


def soon() -> float:
    return time.monotonic() + 30


class Held:
    """A network that says when it has begun and goes on when told."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.sizes: list[int] = []
        self.together = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.together += 1
        assert self.together == 1, "run is called by two at once"
        self.sizes.append(len(images))
        self.begun.release()
        assert self.go.acquire(timeout=30)
        self.together -= 1
        return double(images)


def wait_until_queued(batcher: Batcher, count: int) -> None:
    limit = time.monotonic() + 30
    while len(batcher._queue) < count:
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_a_lone_request_is_answered_in_its_own_thread():
    ran = []

    def run(images):
        ran.append(threading.current_thread())
        return double(images)

    assert Batcher(run, 8).answer(numbered(4, 5), soon()).tolist() == [[8], [10]]
    assert ran == [threading.current_thread()]


def test_who_comes_while_the_network_runs_is_answered_as_one_batch():
    held, told = Held(), []
    batcher = Batcher(held, 8, told.append)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(batcher.answer, numbered(1), soon())
        assert held.begun.acquire(timeout=30)
        others = [
            pool.submit(batcher.answer, numbered(i, i + 1), soon()) for i in range(10, 50, 10)
        ]
        wait_until_queued(batcher, 4)
        held.go.release(2)
        assert first.result(30).tolist() == [[2]]
        for i, other in zip(range(10, 50, 10), others, strict=True):
            assert other.result(30).tolist() == [[2 * i], [2 * i + 2]]
    assert held.sizes == told == [1, 8]


def test_a_batch_has_a_limit_and_keeps_the_order():
    held = Held()
    batcher = Batcher(held, 4)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(batcher.answer, numbered(1), soon())]
        assert held.begun.acquire(timeout=30)
        for i, n in enumerate((3, 2, 2, 1)):
            futures.append(pool.submit(batcher.answer, numbered(*range(n)), soon()))
            wait_until_queued(batcher, i + 1)
        held.go.release(5)
        for future in futures:
            future.result(30)
    assert held.sizes == [1, 3, 4, 1]


def test_who_would_wait_too_long_is_refused_in_time_and_not_run():
    held = Held()
    batcher = Batcher(held, 8)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.answer, numbered(1), soon())
        assert held.begun.acquire(timeout=30)
        started = time.monotonic()
        with pytest.raises(Refused, match="no time left") as refused:
            batcher.answer(numbered(2), started + 0.05)
        assert 0.04 < time.monotonic() - started < 5 and refused.value.status == 503
        last = pool.submit(batcher.answer, numbered(3), soon())
        wait_until_queued(batcher, 1)
        held.go.release(2)
        assert first.result(30).tolist() == [[2]] and last.result(30).tolist() == [[6]]
    assert held.sizes == [1, 1]


def test_an_error_reaches_all_of_its_batch_and_the_next_goes_on():
    fail = threading.Event()
    fail.set()
    held = Held()

    def run(images):
        found = held(images)
        if fail.is_set():
            raise RuntimeError("broken")
        return found

    batcher = Batcher(run, 8)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.answer, numbered(1), soon())
        assert held.begun.acquire(timeout=30)
        both = [pool.submit(batcher.answer, numbered(i), soon()) for i in (2, 3)]
        wait_until_queued(batcher, 2)
        held.go.release(2)
        for future in (first, *both):
            with pytest.raises(RuntimeError, match="broken"):
                future.result(30)
        fail.clear()
        held.go.release()
        assert batcher.answer(numbered(9), soon()).tolist() == [[18]]


def test_a_storm_of_threads_with_late_ones_among_them_loses_nothing():
    def run(images):
        time.sleep(0.0005)
        return double(images)

    sizes: list[int] = []
    batcher = Batcher(run, 16, sizes.append)

    def ask(i: int) -> str:
        n = 1 + i % 3
        wanted = [(i + k) % 120 for k in range(n)]
        deadline = time.monotonic() + (0.0004 if i % 7 == 0 else 30)
        try:
            found = batcher.answer(numbered(*wanted), deadline)
        except Refused:
            return "late"
        assert found[:, 0].tolist() == [2.0 * w for w in wanted]
        return "answered"

    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(ask, range(2000), timeout=60))
    assert all(o == "answered" for i, o in enumerate(outcomes) if i % 7)
    assert max(sizes) > 3  # they did come together
    assert not batcher._queue and not batcher._running
    assert sum(sizes) == sum(1 + i % 3 for i, o in enumerate(outcomes) if o == "answered")


def test_the_gate_refuses_at_once_and_opens_again():
    gate = Gate(Limits(max_requests=2, deadline_s=60))
    with gate.entered() as deadline, gate.entered():
        assert 30 < deadline - time.monotonic() <= 60
        started = time.monotonic()
        with pytest.raises(Refused, match="2 requests") as refused, gate.entered():
            pass
        assert time.monotonic() - started < 1
        assert refused.value.status == 503
    with pytest.raises(ValueError), gate.entered():
        raise ValueError
    with gate.entered(), gate.entered():
        pass


@pytest.mark.parametrize("name", ["max_pixels", "deadline_s", "receive_s", "max_requests"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} 0"):
        Limits(**{name: 0})


def test_room_for_less_than_one_body_is_refused():
    with pytest.raises(InputError, match="--max-held-bytes 5: --max-body-bytes 6 or more"):
        Limits(max_body_bytes=6, max_held_bytes=5)


def test_past_its_deadline_a_request_is_refused_before_it_is_run():
    ran = []
    batcher = Batcher(lambda images: (ran.append(1), double(images))[1], 8)
    with pytest.raises(Refused, match="no time left") as refused:
        batcher.answer(numbered(1), time.monotonic() - 0.001)
    assert refused.value.status == 503 and not ran
    assert batcher.answer(numbered(2), soon()).tolist() == [[4]]


def test_a_gate_of_another_width():
    gate = Gate(Limits(max_requests=9), 1)
    with gate.entered(), pytest.raises(Refused, match="1 requests"), gate.entered():
        pass


def test_who_gets_the_network_too_late_is_not_run_and_the_next_is():
    """Handed over when its time was up: it kept the network from those who still had some."""
    go, ran = threading.Event(), []

    def run(images):
        ran.append(images[:, 0, 0].tolist())
        if ran[-1] == [0]:
            assert go.wait(20)
        return double(images)

    batcher = Batcher(run, 8)
    outcomes: dict[int, str] = {}

    def ask(i: int, deadline: float) -> None:
        try:
            batcher.answer(numbered(i), deadline)
            outcomes[i] = "answered"
        except Refused:
            outcomes[i] = "late"

    threads = [threading.Thread(target=ask, args=(0, soon()))]
    threads[0].start()
    while not ran:
        time.sleep(0.01)
    for i in (1, 2):
        threads.append(threading.Thread(target=ask, args=(i, soon())))
        threads[-1].start()
        wait_until_queued(batcher, i)
    batcher._queue[0].deadline = 0.0  # past, though it has not woken yet
    go.set()
    for thread in threads:
        thread.join(20)
    assert outcomes == {0: "answered", 1: "late", 2: "answered"} and ran == [[0], [2]]
