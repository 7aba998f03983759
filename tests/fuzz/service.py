"""The HTTP decoder: requests through Flask's own client, answered without a network.

Not named http.py: run from this folder, that would take the place of the standard library's.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from conftest import draw_strokes
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from classifier.card import Card
from classifier.serve.app import Service, create_app
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from synth.alphabet import Alphabet
from synth.canvas import Canvas

LIMITS = Limits(
    max_body_bytes=200_000,
    max_pixels=300_000,
    max_images=4,
    max_requests=2,
    deadline_s=20,  # or a busy machine would be told as a 503
)
MEMORY_MIB, EACH_S = 400, 5.0
BOUNDARY = "limit"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
SHAPES = ("call", "image", "json", "multipart", "any type")


class StubModel:
    """Finds everything equally probable."""

    def __init__(self) -> None:
        self.precision, self.made = "f32", {"weights_sha256": "0" * 64}
        self.card = Card("stub", Alphabet.of("一丨十"), (), Canvas(), 0.5, {})

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """[n, H, W] uint8 -> [n, C] float32."""
        return np.full((len(images), self.card.classes), 1 / self.card.classes, np.float32)


@cache
def client() -> FlaskClient:
    """Of one app for all cases, as one service has all requests."""
    return create_app(Service(StubModel(), LIMITS, Metrics())).test_client()


def told(answer: TestResponse) -> str:
    """ "answered" or "refused", where an answer is what the service promises: JSON, with a reason
    that is short where it is refused. AssertionError for anything else, a 5xx above all."""
    body = json.loads(answer.get_data())
    if answer.status_code == 200:
        assert "predictions" in body or "answer" in body, body
        return "answered"
    assert 400 <= answer.status_code < 500, (answer.status_code, body)
    assert set(body) == {"error"} and isinstance(body["error"], str), body
    assert 0 < len(body["error"]) < 1000, len(body["error"])
    return "refused"


def case(data: bytes) -> str:
    """The first byte picks the shape of the request, the rest fills it."""
    shape, rest = SHAPES[data[0] % len(SHAPES)] if data else "json", data[1:]
    if shape == "call":
        sent: dict[str, Any] = {"path": "/inference", "data": rest}
    elif shape == "image":
        image = base64.b64encode(rest).decode()
        sent = {"path": "/inference", "json": {"esun_uuid": "1", "image": image}}
    elif shape == "any type":  # the first line is the content type
        kind, _, rest = rest.partition(b"\n")
        sent = {"data": rest, "content_type": kind.decode("latin1").replace("\r", "")}
    else:
        kind = "application/json" if shape == "json" else MULTIPART
        sent = {"data": rest, "content_type": kind}
    return told(client().post(**{"path": "/v1/predict", **sent}))


def multipart(*parts: tuple[str, bytes]) -> bytes:
    """A body of parts, each the rest of its Content-Disposition and its bytes."""
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return body + f"--{BOUNDARY}--\r\n".encode()


def picture() -> bytes:
    """A small PNG file."""
    stream = io.BytesIO()
    draw_strokes(1, size_px=24).save(stream, "PNG")
    return stream.getvalue()


def seeds() -> Iterator[tuple[str, bytes]]:
    """Good requests to start from."""
    image = base64.b64encode(picture()).decode()
    called = {"esun_uuid": "e5f1", "esun_timestamp": 1590493849, "image": image, "retry": 2}
    form = multipart(('name="image"; filename="1.png"', picture()), ('name="top"', b"2"))
    for shape, data in (
        ("call", json.dumps(called).encode()),
        ("image", picture()),
        ("json", json.dumps({"images": [image, image], "top": 2}).encode()),
        ("multipart", form),
        ("any type", f"{MULTIPART}; charset=utf-8\n".encode() + form),
    ):
        yield shape.replace(" ", "-"), bytes([SHAPES.index(shape)]) + data
