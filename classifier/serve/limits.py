"""What a request may cost: bytes, pixels, images, time, and how many there may be at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from synth.command import cores
from synth.errors import InputError

CAME = "inkfill.came"  # in a request's environment: when it had come whole, `time.monotonic()`
RETRY_AFTER_S = 1  # what a 503 advises
# Bodies that are taken apart and decoded at once: an image of 4,000,000 pixels takes some 100 MB
# meanwhile, and Python would not do more of them in the same time.
MAX_AT_WORK = 4


class Refused(Exception):
    """A request that gets no answer: the HTTP status and the reason, for the one who asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Limits:
    max_body_bytes: int = 8 * 2**20  # of a request; more is refused before it is read
    max_pixels: int = 4_000_000  # of an image; looked up in its header, before it is decoded
    max_images: int = 32  # of a request, and of a batch of the network
    max_requests: int = 64  # being answered at once; one more gets 503 at once
    deadline_s: float = 1.0  # from when a request has come whole; one that takes longer gets 503
    receive_s: float = 30.0  # for a request to come whole; then its connection is closed
    max_held_bytes: int = 256 * 2**20  # of bodies in files, of all requests; beyond them 503

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"--{name.replace('_', '-')} {value}: more than 0")
        if self.max_held_bytes < self.max_body_bytes:
            raise InputError(
                f"--max-held-bytes {self.max_held_bytes}: --max-body-bytes "
                f"{self.max_body_bytes} or more, else such a body would never be taken"
            )


class Held:
    """Counts the bytes of request bodies that lie in files, of all connections together."""

    def __init__(self, most: int) -> None:
        self.bytes, self._most, self._lock = 0, most, threading.Lock()

    def change(self, by: int) -> bool:
        """Whether there is room for so many more; where not, nothing is counted."""
        with self._lock:
            has_room = self.bytes + by <= self._most
            self.bytes += by if has_room else 0
            return has_room


class Gate:
    """Lets so many in at once and refuses the next, without a wait."""

    def __init__(
        self,
        limits: Limits,
        at_once: int | None = None,  # None: `max_requests`
    ) -> None:
        self._limits, self._at_once = limits, at_once or limits.max_requests
        self._free = threading.BoundedSemaphore(self._at_once)

    @contextmanager
    def entered(self, came: float | None = None) -> Iterator[float]:
        """Yields the deadline, both in `time.monotonic()`. Raises Refused, 503.

        came: when the request had come whole, None: now.
        """
        if not self._free.acquire(blocking=False):
            raise Refused(503, f"{self._at_once} requests are being answered")
        try:
            yield (time.monotonic() if came is None else came) + self._limits.deadline_s
        finally:
            self._free.release()


class Turns:
    """Lets so many in at once; the next waits, as long as it has time."""

    def __init__(self, at_once: int = min(MAX_AT_WORK, cores())) -> None:
        self._free = threading.BoundedSemaphore(at_once)

    @contextmanager
    def taken(self, deadline: float) -> Iterator[None]:
        """deadline: in `time.monotonic()`. Raises Refused, 503, past it."""
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise late()
        try:
            yield
        finally:
            self._free.release()


def require_time(deadline: float) -> None:
    """Raises Refused, 503, past the deadline, in `time.monotonic()`."""
    if time.monotonic() >= deadline:
        raise late()


def late() -> Refused:
    return Refused(503, "no time left: too many requests before this one, or too large ones")
