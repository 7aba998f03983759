"""The routes."""

from __future__ import annotations

import base64
import logging
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, g, jsonify, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException

from classifier.card import Prediction
from classifier.onnx import OnnxModel
from classifier.serve.batching import Batcher
from classifier.serve.glyphs import Glyphs
from classifier.serve.keep import Answered, Keeper
from classifier.serve.labels import Labels
from classifier.serve.limits import (
    CAME,
    RETRY_AFTER_S,
    Gate,
    Limits,
    Refused,
    Turns,
    require_time,
)
from classifier.serve.metrics import Metrics
from classifier.serve.openapi import describe
from classifier.serve.reading import Question, read_call, read_question
from synth.alphabet import OTHER
from synth.decode import TooManyPixels, decode, encode
from synth.errors import InputError

IS_NULL = "isnull"  # the E.SUN 2021 call's word for "other"
NEAREST = 5
NEAREST_AT_ONCE = 4  # requests; a gate of their own, so that they take no place of an answer
MAX_NAME = 100  # characters of a file name in a reason
_log = logging.getLogger("inkfill.serve")


@dataclass(frozen=True)
class Opened:
    """What is left of a question while the network answers it."""

    images: np.ndarray  # [n, H, W] uint8
    files: tuple[bytes, ...]  # n to keep with their answers, or none
    top: int


class Service:
    """What the routes share: the model behind its batcher, and what limits and records."""

    def __init__(
        self,
        model: OnnxModel,
        limits: Limits,
        metrics: Metrics,
        keeper: Keeper | None = None,  # None: no answer is kept
    ) -> None:
        self.model, self.limits, self.keeper, self.metrics = model, limits, keeper, metrics
        self.gate, self.nearest_gate = Gate(limits), Gate(limits, NEAREST_AT_ONCE)
        self.turns = Turns()
        self.batcher = Batcher(model.probabilities, limits.max_images, metrics.batch_images.observe)
        self.glyphs = Glyphs(model.card.alphabet)
        self.labels = Labels(model.card.alphabet)
        self.stopping = False  # set by the server when it begins to stop

    def open(self, asked: Question, deadline: float) -> Opened:
        """Decodes the images. Within a turn: it takes memory, a body as a whole likewise. Raises
        Refused with the reason and the name of the image."""
        names = [f"image {n}" if n.isdecimal() else n[:MAX_NAME] for n in asked.names]
        images = [self._read(f, n, deadline) for f, n in zip(asked.files, names, strict=True)]
        files = asked.files if self.keeper and asked.keep else ()
        return Opened(np.stack(images), files, asked.top)

    def _read(self, file: bytes, name: str, deadline: float) -> np.ndarray:
        """The bytes of an image file -> [H, W] uint8.

        Past the deadline it does not begin: an image may take a while, and a request has many.
        """
        require_time(deadline)
        try:
            return decode(file, self.model.card.canvas, self.limits.max_pixels)
        except TooManyPixels as error:
            raise Refused(413, f"{name}: {error}") from None
        except InputError as error:
            raise Refused(400, f"{name}: {error}") from None

    def answer(self, opened: Opened, deadline: float) -> list[tuple[str, Prediction]]:
        """-> for each image a server_uuid and the answer."""
        probabilities = self.batcher.answer(opened.images, deadline)
        found = self.model.card.predictions(probabilities, opened.top)
        others = sum(p.label == OTHER for p in found)
        self.metrics.answers.labels("other").inc(others)
        self.metrics.answers.labels("known").inc(len(found) - others)
        ids = [str(uuid.uuid4()) for _ in found]
        if self.keeper and opened.files:
            now = time.time()
            for one, file, said in zip(ids, opened.files, found, strict=True):
                self.keeper.put(Answered(one, file, said, now))
        return list(zip(ids, found, strict=True))


def create_app(service: Service) -> Flask:
    """The WSGI app. A second app in one process shares nothing with it."""
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = service.limits.max_body_bytes
    app.config["MAX_FORM_PARTS"] = service.limits.max_images + 8
    app.config["MAX_FORM_MEMORY_SIZE"] = service.limits.max_body_bytes  # no limit of its own
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.ensure_ascii = False  # characters as they are
    app.json.sort_keys = False
    card, limits, metrics = service.model.card, service.limits, service.metrics
    static = Path(app.static_folder or "")
    description = describe(limits)

    @app.post("/inference")
    def inference() -> Response:
        with service.gate.entered(request.environ.get(CAME)) as deadline:
            with service.turns.taken(deadline):
                esun_uuid, asked = read_call(request)
                opened = service.open(asked, deadline)
            del asked  # its bytes need not wait for the network
            ((server_uuid, said),) = service.answer(opened, deadline)
            return jsonify(
                esun_uuid=esun_uuid,
                server_uuid=server_uuid,
                answer=IS_NULL if said.label == OTHER else said.label,
                server_timestamp=int(time.time()),
            )

    @app.post("/v1/predict")
    def predict() -> Response:
        with service.gate.entered(request.environ.get(CAME)) as deadline:
            with service.turns.taken(deadline):
                asked = read_question(request, limits)
                names, opened = asked.names, service.open(asked, deadline)
            del asked  # its bytes need not wait for the network
            answers = service.answer(opened, deadline)
            return jsonify(
                predictions=[
                    {"name": name, "id": one, **_as_json(said)}
                    for name, (one, said) in zip(names, answers, strict=True)
                ]
            )

    @app.post("/v1/nearest")
    def nearest() -> tuple[Response, int]:
        with service.nearest_gate.entered(request.environ.get(CAME)) as deadline:
            with service.turns.taken(deadline):
                asked = read_question(request, limits)
                if len(asked.files) != 1:
                    raise Refused(400, f"{len(asked.files)} images, wanted one")
                (image,) = service.open(asked, deadline).images
            found = service.glyphs.nearest(image, NEAREST, deadline)
            if found is None:
                return jsonify(glyphs=[]), 202
            return jsonify(
                glyphs=[
                    {
                        "char": x.char,
                        "font": x.font,
                        "likeness": round(x.likeness, 4),
                        "png": base64.b64encode(encode(x.picture)).decode(),
                    }
                    for x in found
                ]
            ), 200

    @app.get("/healthz")
    def healthz() -> tuple[Response, int]:
        status = "stopping" if service.stopping else "ok"
        about = {
            "status": status,
            "model": card.name,
            "characters": len(card.alphabet),
            "alphabet": card.alphabet.digest,
            "weights": service.model.made["weights_sha256"][:12],
            "precision": service.model.precision,
        }
        return jsonify(about), 503 if service.stopping else 200

    @app.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(description)

    @app.get("/docs")
    def docs() -> Response:
        return Response((static / "docs.html").read_text("utf-8"), mimetype="text/html")

    @app.get("/")
    def draw() -> Response:
        return Response((static / "draw.html").read_text("utf-8"), mimetype="text/html")

    @app.get("/labels.css")
    def labels() -> Response:
        rules = service.labels.css()
        response = Response(rules or "", 202 if rules is None else 200, mimetype="text/css")
        if rules is not None:
            response.add_etag()  # so that a page opened again does not fetch it again
            response.headers["Cache-Control"] = "no-cache"
            response.make_conditional(request)
        return response

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        metrics.in_flight.inc()

    @app.after_request
    def tell(response: Response) -> Response:
        endpoint = request.url_rule.rule if request.url_rule else "unknown"
        seconds = time.perf_counter() - g.started
        metrics.seconds.labels(endpoint, str(response.status_code)).observe(seconds)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; img-src 'self' data:; font-src 'self' data:"
        )
        return response

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        metrics.in_flight.dec()

    @app.errorhandler(Refused)
    def refuse(refused: Refused) -> Response:
        return _error(refused.status, refused.reason)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        too_large = f"more than {limits.max_body_bytes} bytes, or {limits.max_images} images"
        return _error(status, too_large if status == 413 else error.description or error.name)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        _log.exception("%s %s", request.method, request.path)
        return _error(500, "an error of the server; its log says more")

    return app


def _as_json(said: Prediction) -> dict[str, Any]:
    return {
        "label": said.label,
        "confidence": round(said.confidence, 4),
        "other": round(said.other, 6),
        "top": [{"char": char, "confidence": round(p, 4)} for char, p in said.top],
    }


def _error(status: int, reason: str) -> Response:
    response = jsonify(error=reason)
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
