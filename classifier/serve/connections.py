"""Connections and the addresses they come to: what the server changes of waitress's."""

from __future__ import annotations

import errno
import resource
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from classifier.serve.parsing import Parser, Refusal, Task, TooSlow, too_many
from synth.errors import InputError

if TYPE_CHECKING:
    from classifier.serve.server import Server

DRAIN_S = 2.0  # so long what a refused sender still sends is read, and dropped
MAX_CONNECTIONS = 2048
FILES_EACH = 3  # of a connection: itself, and where they are large its request and its answer
SPARE_FILES = 128  # of all else: the model, the program, kept answers, and
TURNED_AWAY = 32  # connections beyond the limit, which are told so; more wait to be accepted
BACKLOG = 1024  # connections that wait to be accepted
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Channel(HTTPChannel):
    """One connection. At the end its next answer says that it is the last.

    Where a request is refused before it has come whole, its sender still sends. A connection that
    is closed with that unread is reset, which takes the answer away: so it is closed for writing
    only, and read for a while.
    """

    task_class = Task
    error_task_class = Refusal
    server: Server
    request: Any  # a Parser, or None
    close_when_flushed: bool
    receiving_since = 0.0  # in `time.monotonic()`; of the request that is not whole yet
    heard_at = 0.0  # likewise: when something came last
    refused = False
    drained_at = 0.0  # in `time.monotonic()`: when it is closed after a refusal; 0: not begun

    def parser_class(self, adjustments: Adjustments) -> Parser:
        """waitress calls what it takes for a class."""
        return Parser(adjustments, self.server.held)

    def handle_close(self) -> None:
        if self.request is not None:  # half of one: no thread ever sees it
            self.request.close()
        super().handle_close()

    def received(self, data: bytes) -> bool:
        if self.drained_at:
            self.will_close = time.monotonic() > self.drained_at
            return False
        before, self.heard_at = self.request, time.monotonic()
        taken: bool = super().received(data)
        if self.request is not before:
            self.receiving_since = self.heard_at
        return taken

    def send_continue(self) -> None:
        # neither is what is refused already asked for, nor a body where there is none: waitress
        # would wait for it without end
        if not self.request.error and not self.request.completed:
            super().send_continue()

    def turn_away(self) -> None:
        """Answers 503 before anything is read: there are as many connections as there may be."""
        answer = too_many()
        with self.outbuf_lock:
            self.outbufs[-1].append(answer)
            self.current_outbuf_count += len(answer)
            self.total_outbufs_len += len(answer)
        self.refused = self.close_when_flushed = True

    def handle_write(self) -> None:
        if not (self.refused and self.close_when_flushed) or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.connected and not self.total_outbufs_len and not self.will_close:
            self.close_when_flushed, self.request = False, None
            self.drained_at = time.monotonic() + DRAIN_S
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:  # gone already
                self.will_close = True

    def end_if_late(self, limit_s: float, silent_s: float) -> None:
        """Refuses a request that is being received for longer than `limit_s`, or from which nothing
        came for `silent_s`; closes it where what follows a refusal was read for long enough. Called
        by the loop."""
        now = time.monotonic()
        if self.drained_at:
            self.will_close = self.will_close or now > self.drained_at
            return
        with self.requests_lock:
            half = self.request
            if half is None or self.requests:
                return
            if now > self.receiving_since + limit_s:
                reason = f"not whole after {limit_s:g} s"
            elif now > self.heard_at + silent_s:
                reason = f"nothing more came for {silent_s:g} s"
            else:
                return
            self.request = None
            half.refuse(TooSlow(reason))
            self.requests.append(half)
        self.server.add_task(self)

    def service(self) -> None:
        if self.requests and self.requests[0].error:
            self.refused = True
        if self.server.stopping and self.requests:
            self.requests[0].headers["CONNECTION"] = "close"
        super().service()

    @property
    def busy(self) -> bool:
        """Whether a request is being received, answered, or its answer sent."""
        return bool(self.requests or self.request is not None or self.total_outbufs_len)


class Listener(wasyncore.dispatcher):
    """One more address of the server's; its connections are the server's."""

    def __init__(self, server: Server, bound: socket.socket) -> None:
        self._server = server
        super().__init__(bound, map=server._map)
        self.accepting = True

    def readable(self) -> bool:
        return self.accepting and not self._server.in_connection_overflow

    def writable(self) -> bool:
        return False

    def handle_accept(self) -> None:
        self._server.accept_of(self)


def bound(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of the host, as "localhost" has one of IPv4 and one of
    IPv6; where the port is 0, of one and the same free port.

    Raises InputError where there is no such host, and where one of its addresses cannot be had; but
    a machine without IPv6 may know the name of an address it has not.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: 0 to 65535")
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: {getattr(error, 'strerror', None) or error}") from None
    missing = "no address"
    sockets: list[socket.socket] = []
    with ExitStack() as undo:
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                one = _listening(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _NO_ADDRESS:
                    raise InputError(f"{host}:{port}: {error.strerror or error}") from None
                missing = error.strerror
                continue
            sockets.append(undo.enter_context(one))
            port = one.getsockname()[1]
        if not sockets:
            raise InputError(f"{host}:{port}: {missing}")
        undo.pop_all()
    return sockets


def _listening(family: int, address: tuple) -> socket.socket:
    with ExitStack() as undo:
        one = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(BACKLOG)
        undo.pop_all()
    return one


def raise_file_limit() -> None:
    """Lets the process have as many files open as MAX_CONNECTIONS may need, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS * FILES_EACH + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """So many that no file is lacking: a server that cannot accept would try again without end.

    Raises InputError where the process may open too few.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if soft < 2 * SPARE_FILES:
        raise InputError(
            f"this process may open {soft} files (ulimit -n), {2 * SPARE_FILES} are needed"
        )
    return min(MAX_CONNECTIONS, (soft - SPARE_FILES) // FILES_EACH)
