"""Requests as they come in, and refusals that the app is not asked for: what the server changes of
waitress's."""

from __future__ import annotations

import json
import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from classifier.serve.limits import CAME, RETRY_AFTER_S, Held

MAX_REASON = 200  # characters


class Busy(Error):
    """waitress has none of this status."""

    code = 503
    reason = "Service Unavailable"


class TooSlow(Error):
    """Nor of this one."""

    code = 408
    reason = "Request Timeout"


def too_many() -> bytes:
    """A whole answer to a connection of which nothing is read."""
    body = json.dumps({"error": "too many connections"}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {Busy.code} {Busy.reason}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        f"Retry-After: {RETRY_AFTER_S}\r\n\r\n"
    )
    return head.encode() + body


class Parser(HTTPRequestParser):
    """Notes when a request had come whole: from then on its time runs. Refuses a body that, with
    those of the other requests, takes more bytes of files than there may be."""

    error: Error | None  # why it is refused
    came = 0.0  # in `time.monotonic()`
    _mine = 0  # bytes of the body that are counted; a small one is in memory

    def __init__(self, adjustments: Adjustments, held: Held) -> None:
        super().__init__(adjustments)
        self._held = held

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        came = self.body_bytes_received
        if not self.error and came >= self.adj.inbuf_overflow:
            if self._held.change(came - self._mine):
                self._mine = came
            else:
                self.refuse(Busy("other requests' bodies take all the room"))
        if self.completed and not self.came:
            self.came = time.monotonic()
        return taken

    def refuse(self, error: Error) -> None:
        self.error, self.completed = error, True
        self.close()

    def close(self) -> None:
        """Lets go of its file. More than once does no harm."""
        super().close()
        self._held.change(-self._mine)
        self._mine = 0


class Task(WSGITask):
    def get_environment(self) -> dict[str, Any]:
        return super().get_environment() | {CAME: self.request.came}


class Refusal(ErrorTask):
    """Of a request that the app never sees, too large or no HTTP: as the app's own, in JSON."""

    def execute(self) -> None:
        error, server = self.request.error, self.channel.server
        reason = f"{error.reason}: {error.body}"[:MAX_REASON]
        if error.code == 413:
            reason = f"more than {server.max_body_bytes} bytes"
        body = json.dumps({"error": reason}).encode() + b"\n"
        self.status = f"{error.code} {error.reason}"
        if error.code == Busy.code:
            self.response_headers.append(("Retry-After", str(RETRY_AFTER_S)))
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        server.on_refused(error.code)
        self.write(body)
