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
from waitress.server import TcpWSGIServer

from classifier.serve.connections import (
    BACKLOG,
    TURNED_AWAY,
    Channel,
    Listener,
    bound,
    most_connections,
)
from classifier.serve.limits import Held, Limits
from classifier.serve.parsing import Busy

SPARE_THREADS = 8  # above the requests let in: /v1/nearest, /healthz, and to refuse the others
IDLE_S = 30  # a connection that is silent that long is closed
CLEANUP_S = 2  # between two looks for connections to close
LINGER_S = 0.5  # at the end, what is on its way on open connections is still answered
MEMORY_BYTES = 2**16  # of a request, or an answer, that is under way; what is larger is in a file
_log = logging.getLogger("inkfill.serve")


class Server(TcpWSGIServer):
    """`run` returns after `stop`, or after SIGTERM or SIGINT, when the last answer is sent."""

    channel_class = Channel

    def __init__(
        self,
        app: Flask,
        host: str,  # a name may have several addresses: all are listened on
        port: int,  # 0: any free one
        limits: Limits,
        grace_s: float,  # longest wait for the last answers
        on_stop: Callable[[], None] = lambda: None,  # called when it begins to stop
        on_refused: Callable[[int], None] = lambda status: None,  # where the app is not asked
    ) -> None:
        """Raises InputError where the address cannot be had."""
        self.stopping = False
        self._grace_s, self._on_stop, self._receive_s = grace_s, on_stop, limits.receive_s
        self.on_refused, self.max_body_bytes = on_refused, limits.max_body_bytes
        self.held = Held(limits.max_held_bytes)
        self._most_connections = most_connections()
        adjustments = Adjustments(
            threads=limits.max_requests + SPARE_THREADS,
            max_request_body_size=limits.max_body_bytes + 1,  # it refuses what has as many
            # it counts its own sockets with them
            connection_limit=self._most_connections + TURNED_AWAY,
            channel_timeout=IDLE_S,
            cleanup_interval=CLEANUP_S,
            asyncore_use_poll=True,
            inbuf_overflow=MEMORY_BYTES,
            outbuf_overflow=MEMORY_BYTES,
            backlog=BACKLOG,
            ident="inkfill",
        )
        first, *more = bound(host, port)
        where = (first.family, first.type, first.proto, first.getsockname())
        super().__init__(
            app, adj=adjustments, map={}, _sock=first, sockinfo=where, bind_socket=False
        )
        self._more = [Listener(self, one) for one in more]
        self._host = host if more else self.effective_host

    @property
    def url(self) -> str:
        host = self._host
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
        while any([self.accept_of(listener) for listener in (self, *self._more)]):
            pass
        self.accepting = False
        self.del_channel(self._map)
        self.socket.close()
        for listener in self._more:
            listener.close()
        quiet_at = time.monotonic() + LINGER_S
        deadline = time.monotonic() + self._grace_s
        while time.monotonic() < deadline:
            self._turn(0.05)
            channels = list(self.active_channels.values())
            if any(c.busy for c in channels):
                quiet_at = time.monotonic() + LINGER_S
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
        """Waitress's own looks for silence only, which it closes without a word, and a byte now and
        then would hold a connection."""
        for channel in list(self.active_channels.values()):
            channel.end_if_late(self._receive_s, IDLE_S)
        super().maintenance(now)

    def handle_accept(self) -> None:
        self.accept_of(self)

    def accept_of(self, listener: wasyncore.dispatcher) -> bool:
        """Takes in one connection that waits to be accepted; whether there was one."""
        try:
            accepted = listener.accept()
            if accepted is None:
                return False
            self.set_socket_options(accepted[0])
        except OSError as error:  # the sender is gone already, say
            _log.warning("a connection was not accepted: %s", error)
            return False
        channel = self.channel_class(self, *accepted, self.adj, map=self._map)
        if len(self.active_channels) > self._most_connections:
            channel.turn_away()
            self.on_refused(Busy.code)
        return True

    def _turn(self, timeout_s: float) -> None:
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._map, count=1)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.stopping:  # asked twice: at once
            raise KeyboardInterrupt
        self.stop()
