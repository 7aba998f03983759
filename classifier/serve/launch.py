"""From a model's place to a running server."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from classifier.onnx import OnnxModel, is_of, load_onnx
from classifier.serve.app import Service, create_app
from classifier.serve.keep import Keeper
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server
from synth.decode import decode, encode
from synth.errors import InputError

WARM_BATCHES = 8  # sizes from 1; a larger batch costs 10 ms more the first time


def onnx_of(model: Path, export: list[str]) -> Path:
    """The .onnx file of a run folder, exported folder, or itself.

    A folder without one that fits its weights gets one first, by the command `export`, in a process
    of its own: exporting needs torch, which this process never loads. Raises InputError.
    """
    if model.suffix == ".onnx":
        return model
    onnx, weights = model / "model.onnx", model / "model.safetensors"
    if not weights.is_file():
        if onnx.is_file():
            return onnx
        raise InputError(f"{model}: no model (neither model.onnx nor model.safetensors in it)")
    if onnx.is_file() and is_of(onnx, weights):
        return onnx
    print(f"{onnx}: making it of {weights.name}", flush=True)
    done = subprocess.run([sys.executable, *export], stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise InputError(f"{model}: export_model.py failed (above); it needs torch and onnx")
    return onnx


def _warm(model: OnnxModel) -> None:
    """Pillow loads its formats, and the runtime prepares each new batch size, when first asked."""
    size = model.card.canvas.size_px
    picture = np.zeros((size, size), np.uint8)
    picture[size // 4 : size // 2, size // 4 : size // 2] = 255
    decode(encode(picture), model.card.canvas)
    for n in range(1, WARM_BATCHES + 1):
        model.probabilities(np.repeat(picture[None], n, 0))


def serve(
    onnx: Path,
    host: str,
    port: int,
    limits: Limits,
    precision: str,  # see `classifier.onnx.load_onnx`
    threads: int | None,
    keep: Path | None,  # folder for the answers; None: none is kept
    keep_answers: int,
    grace_s: float,
    on_ready: Callable[[Server], None] = lambda server: None,
) -> None:
    """Returns when it was stopped and the last answer is sent. Raises InputError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # /metrics says it better
    model = load_onnx(onnx, precision, threads)
    _warm(model)
    metrics = Metrics()
    keeper = Keeper(keep, keep_answers, metrics) if keep else None
    service = Service(model, limits, metrics, keeper)

    def stopping() -> None:
        service.stopping = True

    server = Server(create_app(service), host, port, limits, grace_s, stopping)
    card = model.card
    print(
        f"{server.url}: {card.name}, {len(card.alphabet)} characters, {model.precision}; "
        f"write at /, read at /docs",
        flush=True,
    )
    on_ready(server)
    try:
        server.run()
    finally:
        if keeper:
            keeper.close()
