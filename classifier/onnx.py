"""An ONNX file that answers by itself: uint8 images in, probabilities out. No torch.

The file holds the normalisation and the softmax, and in its metadata the model's card, so that
nothing beside it is needed and nothing in it runs code. OpenVINO runs it: of the runtimes tried it
was the fastest for single images and for batches (benchmarks/serving.py measures that).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from classifier.card import Card
from synth.errors import InputError

CARD, MADE = "inkfill.card", "inkfill.made"  # the keys in the file's metadata
INPUT, OUTPUT = "images", "probabilities"  # uint8 [n, H, W], float32 [n, C]
PRECISIONS = ("fast", "f32")


@dataclass(frozen=True)
class OnnxModel:
    """A model file, ready to answer. One thread at a time."""

    card: Card
    made: dict[str, Any]  # how the file was made: see `classifier.convert`
    precision: str  # in which the network is computed: f32 or bf16
    request: ov.InferRequest

    def probabilities(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """[N, H, W] uint8 -> [N, C] float32; C = known + 1 + other characters."""
        out = [self._infer(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
        return np.concatenate(out) if out else np.zeros((0, self.card.classes), np.float32)

    def _infer(self, images: np.ndarray) -> np.ndarray:
        """The runtime reads numpy's memory: its own way with lists costs a tenth of an answer."""
        readable = np.require(images, np.uint8, ["C", "W"])  # it refuses what is not writeable
        self.request.set_input_tensor(ov.Tensor(readable, shared_memory=True))
        self.request.infer()
        return self.request.get_output_tensor().data.copy()


def load_onnx(
    path: Path,
    precision: str = "f32",  # "fast": bf16 where the processor computes in it, else f32
    threads: int | None = None,  # of the processor; None: the runtime's choice for short waits
) -> OnnxModel:
    """Raises InputError where `path` is no ONNX file that export_model.py made."""
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: there are {', '.join(PRECISIONS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; export_model.py makes it")
    core = ov.Core()
    try:
        graph = core.read_model(path)
        about, made = _metadata(graph, CARD), _metadata(graph, MADE)
    except RuntimeError as error:
        raise InputError(f"{path}: no whole ONNX file ({_short(error)})") from None
    if about is None or made is None:
        raise InputError(f"{path}: no metadata of this project in it; export_model.py writes them")
    card = Card.parse(about, path)
    size = card.canvas.size_px
    shapes = [str(x.partial_shape) for x in (*graph.inputs, *graph.outputs)]
    if shapes != [f"[?,{size},{size}]", f"[?,{card.classes}]"]:
        raise InputError(
            f"{path}: shapes {' -> '.join(shapes)}, its metadata says "
            f"[?,{size},{size}] -> [?,{card.classes}]"
        )
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    computed = "bf16" if precision == "fast" and has_bf16 else "f32"
    settings: dict[str, str | int]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": computed}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(graph, "CPU", settings)
    return OnnxModel(card, json.loads(made), computed, compiled.create_infer_request())


def is_of(path: Path, weights: Path) -> bool:
    """Whether the ONNX file is whole and was made of these weights (model.safetensors)."""
    try:
        made = _metadata(ov.Core().read_model(path), MADE)
    except RuntimeError:
        return False
    return made is not None and json.loads(made)["weights_sha256"] == sha256(weights)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _metadata(graph: ov.Model, key: str) -> str | None:
    place = ["framework", key]
    return graph.get_rt_info(place).astype(str) if graph.has_rt_info(place) else None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]
