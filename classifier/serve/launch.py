"""From a model's place to a running server."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np

from classifier.card import Card
from classifier.onnx import OnnxModel, fits, load_onnx, measured_on
from classifier.serve.app import Service, create_app
from classifier.serve.connections import raise_file_limit
from classifier.serve.keep import Keeper
from classifier.serve.limits import Limits
from classifier.serve.metrics import Metrics
from classifier.serve.server import Server
from synth.decode import decode, encode, settle_warnings
from synth.errors import InputError

WARM_BATCHES = 8  # sizes from 1; a larger batch costs 10 ms more the first time


def onnx_of(model: Path, export: list[str]) -> Path:
    """The .onnx file of a run folder, exported folder, or itself.

    A folder without one that fits its weights and its card gets one first, by the command `export`,
    in a process of its own: exporting needs torch, which this process never loads. What bf16 costs
    is then measured on the model's own real images, where they are still there. Raises InputError.
    """
    if model.suffix == ".onnx":
        return model
    onnx, weights = model / "model.onnx", model / "model.safetensors"
    if onnx.is_file() and fits(onnx, model):
        return onnx
    if not weights.is_file():
        if onnx.is_file():
            raise InputError(f"{onnx}: damaged, or not of the model.json beside it")
        raise InputError(f"{model}: no model (neither model.onnx nor model.safetensors in it)")
    print(f"{onnx}: making it of {weights.name} and model.json", flush=True)
    store = _trained_on(model / "model.json")
    check = ["--check", str(store)] if store else []
    if subprocess.run([sys.executable, *export, *check], stdout=subprocess.DEVNULL).returncode:
        raise InputError(f"{model}: export_model.py failed (above); it needs torch and onnx")
    return onnx


def _trained_on(about: Path) -> Path | None:
    """The store of real images that a model's card names first, if it can be measured on."""
    try:
        card = Card.parse(about.read_text(encoding="utf-8"), about)
        named = str(card.info["sources"][0]["store"])
    except (OSError, UnicodeDecodeError, InputError, LookupError, TypeError):
        return None  # exporting tells what is wrong with it, if anything is
    try:
        from synth.provenance import find_store  # reads tables, which a server else does not
    except ImportError:
        return None
    try:
        store = find_store(named, about)
        store.require(card.canvas, card.alphabet)
        measured_on(store)
    except InputError as error:
        print(f"what bf16 costs is not measured: {error}", flush=True)
        return None
    return store.path


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
    keep_answers: int,  # at most so many
    keep_bytes: int,  # of files, at most
    grace_s: float,
) -> None:
    """Returns when it was stopped and the last answer is sent. Raises InputError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # /metrics says it better
    settle_warnings()  # it decodes in threads
    raise_file_limit()
    model = load_onnx(onnx, precision, threads)
    _warm(model)
    metrics = Metrics()
    keeper = Keeper(keep, keep_answers, keep_bytes, metrics) if keep else None
    service = Service(model, limits, metrics, keeper)

    def stopping() -> None:
        service.stopping = True

    app = create_app(service)
    server = Server(app, host, port, limits, grace_s, stopping, metrics.refused)
    card = model.card
    print(
        f"{server.url}: {card.name}, {len(card.alphabet)} characters, {model.precision}; "
        f"write at /, read at /docs",
        flush=True,
    )
    if model.not_fast:
        print(f"computed in float32: {model.not_fast}", flush=True)
    try:
        server.run()
    finally:
        if keeper:
            keeper.close()
