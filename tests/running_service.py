"""A service in a thread of the test's process, asked over real connections. No test by itself."""

import base64
import http.client
import io
import json
import threading
import time

from toy_model import LINES, drawing

from classifier.onnx import load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server


def wait_for(wanted) -> None:
    limit = time.monotonic() + 60
    while not wanted():
        assert time.monotonic() < limit
        time.sleep(0.01)


# a request has time here, however busy the machine is: what a deadline does is tested by itself
LIMITS = Limits(max_body_bytes=100_000, max_requests=4, deadline_s=20)


class Running:
    """A server, and its service."""

    def __init__(
        self, onnx, limits: Limits = LIMITS, grace_s: float = 20, host: str = "127.0.0.1"
    ) -> None:
        self.service = Service(load_onnx(onnx), limits, Metrics())
        self.server = Server(
            create_app(self.service),
            host,
            0,
            limits,
            grace_s,
            on_refused=self.service.metrics.refused,
        )
        self.port = int(self.server.effective_port)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def ask(self, connection: http.client.HTTPConnection | None = None) -> tuple[int, dict]:
        """By the open connection, or one of its own."""
        own = connection is None
        if own:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/inference", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            if own:
                connection.close()

    def hold(self) -> tuple[threading.Event, threading.Event]:
        """The network waits from now on: an event that it has begun, and one that lets it go."""
        begun, go = threading.Event(), threading.Event()
        answer = self.service.batcher._run

        def held(images):
            begun.set()
            assert go.wait(20)
            return answer(images)

        self.service.batcher._run = held
        return begun, go

    def end(self) -> None:
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()


def _body() -> bytes:
    stream = io.BytesIO()
    drawing(LINES["十"]).save(stream, "PNG")
    image = base64.b64encode(stream.getvalue()).decode()
    return json.dumps({"esun_uuid": "u", "esun_timestamp": 1, "image": image, "retry": 1}).encode()


BODY = _body()
