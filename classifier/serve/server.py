"""Waitress, with an end that finishes what it began.

Waitress reads each request whole before a thread sees it, so that slow senders hold no thread, and
keeps the size limits meanwhile. A forking server could not answer in batches across its processes.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from classifier.serve.limits import Limits
from synth.errors import InputError

SPARE_THREADS = 8  # above the requests let in: /v1/nearest, /healthz, and to refuse the others
MAX_CONNECTIONS = 2048
IDLE_S = 30  # a connection that is silent that long is closed
CLEANUP_S = 2  # between two looks for connections to close
LINGER_S = 0.5  # at the end, what is on its way on open connections is still answered
_log = logging.getLogger("inkfill.serve")


class _Channel(HTTPChannel):
    """One connection. At the end its next answer says that it is the last."""

    receiving_since = 0.0  # in `time.monotonic()`; of the request that is not whole yet

    def received(self, data: bytes) -> bool:
        before = self.request
        taken: bool = super().received(data)
        if self.request is not before:
            self.receiving_since = time.monotonic()
        return taken

    def is_late(self, limit_s: float) -> bool:
        """Whether a request is being received, for longer than that. Called by the loop."""
        return self.request is not None and time.monotonic() > self.receiving_since + limit_s

    def service(self) -> None:
        if self.server.stopping and self.requests:
            self.requests[0].headers["CONNECTION"] = "close"
        super().service()

    @property
    def busy(self) -> bool:
        """Whether a request is being received, answered, or its answer sent."""
        return bool(self.requests or self.request is not None or self.total_outbufs_len)


class Server(TcpWSGIServer):
    """`run` returns after `stop`, or after SIGTERM or SIGINT, when the last answer is sent."""

    channel_class = _Channel

    def __init__(
        self,
        app: Flask,
        host: str,
        port: int,  # 0: any free one
        limits: Limits,
        grace_s: float,  # longest wait for the last answers
        on_stop: Callable[[], None] = lambda: None,  # called when it begins to stop
    ) -> None:
        """Raises InputError where the address cannot be had."""
        self.stopping = False
        self._grace_s, self._on_stop, self._receive_s = grace_s, on_stop, limits.receive_s
        adjustments = Adjustments(
            listen=f"{host}:{port}",
            threads=limits.max_requests + SPARE_THREADS,
            max_request_body_size=limits.max_body_bytes,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_S,
            cleanup_interval=CLEANUP_S,
            asyncore_use_poll=True,
            ident="inkfill",
        )
        try:
            super().__init__(app, adj=adjustments, map={})
        except OSError as error:
            self.task_dispatcher.shutdown()
            self.trigger.close()
            self.socket.close()
            raise InputError(f"{host}:{port}: {error.strerror or error}") from None

    @property
    def url(self) -> str:
        host = self.effective_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.effective_port}"

    def stop(self) -> None:
        """From any thread or a signal handler."""
        self.stopping = True
        self.pull_trigger()

    def run(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        while not self.stopping:
            self._turn(1.0)
        self._on_stop()
        _log.info("stopping: answering what has come")
        while self.accepting_one():
            pass
        self.accepting = False
        self.del_channel(self._map)
        self.socket.close()
        quiet_at = time.monotonic() + LINGER_S
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline:
            self._turn(0.05)
            channels = list(self.active_channels.values())
            if any(c.busy for c in channels):
                quiet_at = max(quiet_at, time.monotonic() + 0.05)
            elif not channels or time.monotonic() >= quiet_at:
                break
        left = sum(c.busy for c in self.active_channels.values())
        if left:
            _log.error("stopped after %g s with %d requests unanswered", self._grace_s, left)
        self.task_dispatcher.shutdown(timeout=1)
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        self.trigger.close()

    def maintenance(self, now: float) -> None:
        """Waitress's own looks for silence only: a byte now and then would hold a connection."""
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.is_late(self._receive_s) and not channel.requests:
                channel.will_close = True

    def accepting_one(self) -> bool:
        """Takes in one connection that waits to be accepted; whether there was one."""
        before = len(self._map)
        self.handle_accept()
        return len(self._map) > before

    def _turn(self, timeout_s: float) -> None:
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._map, count=1)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.stopping:  # asked twice: at once
            raise KeyboardInterrupt
        self.stop()
