"""Requests that arrive together are answered as one batch. No request waits for others to come.

There is no thread of its own: whoever finds the network free runs it, for all who wait by then, and
at the end hands it to the first of those who came meanwhile. A lone request is answered in its own
thread, at no cost; under load batches grow by themselves.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from classifier.serve.limits import late, require_time


class _Place:
    """One request's images in the queue."""

    __slots__ = ("deadline", "error", "images", "leads", "result", "woken")

    def __init__(self, images: np.ndarray, deadline: float) -> None:
        self.images, self.deadline = images, deadline
        self.woken = threading.Event()  # by a result, an error, or to lead
        self.leads = False
        self.result: np.ndarray | None = None
        self.error: BaseException | None = None


class Batcher:
    """`answer` may be called by any number of threads; `run` is called by one at a time."""

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],  # [n, H, W] uint8 -> [n, C] float32
        max_images: int,  # of a batch; no request may have more
        on_batch: Callable[[int], None] = lambda images: None,  # told each batch's size
    ) -> None:
        self._run, self._max_images, self._on_batch = run, max_images, on_batch
        self._lock = threading.Lock()
        self._queue: deque[_Place] = deque()
        self._running = False

    def answer(self, images: np.ndarray, deadline: float) -> np.ndarray:
        """[n, H, W] uint8 -> [n, C] float32. deadline: in `time.monotonic()`.

        Raises Refused, 503, where the network was not free by then, or nobody waits any more.
        """
        require_time(deadline)
        place = _Place(images, deadline)
        with self._lock:
            self._queue.append(place)
            if not self._running:
                self._running = place.leads = True
        if not place.leads:
            self._wait(place)
        if place.leads:
            self._lead()
        if place.error is not None:
            raise place.error
        assert place.result is not None
        return place.result

    def _wait(self, place: _Place) -> None:
        """Until there is a result, an error, or the network is free."""
        if place.woken.wait(place.deadline - time.monotonic()):
            return
        with self._lock:
            if place in self._queue and not place.leads:
                self._queue.remove(place)
                raise late()
        place.woken.wait()  # it is being answered at this moment

    def _lead(self) -> None:
        with self._lock:
            batch = self._take()
        try:
            if batch:
                images = [place.images for place in batch]
                found = self._run(images[0] if len(images) == 1 else np.concatenate(images))
                at = 0
                for place in batch:
                    place.result = found[at : at + len(place.images)]
                    at += len(place.images)
                self._on_batch(at)
        except BaseException as error:
            for place in batch:
                place.error = error
        finally:
            with self._lock:
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].woken.set()
                else:
                    self._running = False
            for place in batch:
                place.woken.set()

    def _take(self) -> list[_Place]:
        """Those in front that fit into one batch, the leader the first of them; who is late already
        is told, and not run."""
        batch: list[_Place] = []
        count, now = 0, time.monotonic()
        while self._queue:
            place = self._queue[0]
            if place.deadline < now:
                self._queue.popleft()
                place.error = late()
                place.woken.set()
                continue
            if batch and count + len(place.images) > self._max_images:
                break
            batch.append(self._queue.popleft())
            count += len(place.images)
        return batch
