"""An ONNX file that answers by itself: uint8 images in, probabilities out. No torch.

The file holds the normalisation and the softmax, and in its metadata the model's card, so that
nothing beside it is needed and nothing in it runs code. OpenVINO runs it; how long it and the
others take, benchmarks/serving.py measures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from classifier.card import Card
from synth.errors import InputError
from synth.files import sha256_of
from synth.processor import slow_in_bfloat16

if TYPE_CHECKING:  # a server has no tables to read, and not the package for them
    from synth.store import Store

CARD, MADE = "inkfill.card", "inkfill.made"  # the keys in the file's metadata
INPUT, OUTPUT = "images", "probabilities"  # uint8 [n, H, W], float32 [n, C]
PRECISIONS = ("fast", "f32", "bf16")
# What bf16 may cost, measured on labelled images, to be taken for "fast"
MOST_CHANGED = 0.01  # share of the answers that are others than torch's in float32
MOST_LOST = 0.005  # accuracy
FEWEST = 200  # images: of fewer a single answer decides
_SPLITS = ("test", "val")  # those that say something of new images, the better first


@dataclass(frozen=True)
class OnnxModel:
    """A model file, ready to answer. One thread at a time."""

    card: Card
    made: dict[str, Any]  # how the file was made: see `classifier.convert`
    precision: str  # in which the network is computed: f32 or bf16
    request: ov.InferRequest
    not_fast: str = ""  # why "fast" is f32 here; "" where it is bf16, or was not asked for

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
    precision: str = "f32",  # "fast": bf16 where `why_not_fast` has nothing against it, else f32
    threads: int | None = None,  # of the processor; None: the runtime's choice for short waits
) -> OnnxModel:
    """Raises InputError where `path` is no ONNX file that export_model.py made, and for "bf16" on a
    processor that does not compute in it."""
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
    card, history = Card.parse(about, path), _history(made, path)
    size = card.canvas.size_px
    shapes = [str(x.partial_shape) for x in (*graph.inputs, *graph.outputs)]
    if shapes != [f"[?,{size},{size}]", f"[?,{card.classes}]"]:
        raise InputError(
            f"{path}: shapes {' -> '.join(shapes)}, its metadata says "
            f"[?,{size},{size}] -> [?,{card.classes}]"
        )
    if graph.inputs[0].element_type != ov.Type.u8:
        raise InputError(f"{path}: wants {graph.inputs[0].element_type.get_type_name()}, not uint8")
    if precision == "bf16" and not has_bf16():
        raise InputError("precision 'bf16': this processor does not compute in it")
    not_fast = why_not_fast(history) if precision == "fast" else ""
    is_fast = precision == "bf16" or (precision == "fast" and not not_fast)
    computed = "bf16" if is_fast else "f32"
    settings: dict[str, str | int]
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": computed}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        request = core.compile_model(graph, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise InputError(f"{path}: its network cannot be run here ({_short(error)})") from None
    return OnnxModel(card, history, computed, request, not_fast)


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def why_not_fast(made: dict[str, Any]) -> str:
    """What speaks against bf16 for a file that was made like that, on this processor; "": nothing.

    It must have been measured on labelled images: on strokes at random nobody can lose anything.
    """
    if not has_bf16():
        return "this processor does not compute in bf16"
    if slow_in_bfloat16():
        return "this processor computes faster in float32 than in bf16"
    compared = made.get("compared")
    if not isinstance(compared, dict) or compared.get("split") not in _SPLITS:
        return "what bf16 costs was not measured (export_model.py --check STORE)"
    if not isinstance(images := compared.get("images"), int) or images < FEWEST:
        return f"what bf16 costs was measured on {images} images, of at least {FEWEST}"
    try:
        found = compared["bf16"]
        changed = 1 - float(found["same_answers"])
        lost = float(compared["torch"]["accuracy"]) - float(found["accuracy"])
    except (KeyError, TypeError, ValueError):
        return "what bf16 costs was not measured (the file was made on a processor without it)"
    if not (changed <= MOST_CHANGED + 1e-9 and lost <= MOST_LOST + 1e-9):  # 1 - .99 is over .01
        return (
            f"bf16 changes {changed:.2%} of the answers and loses {lost:.2%} accuracy; "
            f"{MOST_CHANGED:.1%} and {MOST_LOST:.1%} are allowed"
        )
    return ""


def measured_on(store: Store) -> tuple[str, np.ndarray]:
    """The split that says something of new images, test before validation, and its rows, [n] int64.

    Raises InputError for a store that has training images only.
    """
    for split in _SPLITS:
        if len(rows := store.rows(split)):
            return split, rows
    raise InputError(
        f"{store.path}: only training images in it; what a model loses is measured on others"
    )


def fits(path: Path, folder: Path) -> bool:
    """Whether the ONNX file is whole and was made of the model in `folder`.

    Its weights and its card, threshold and alphabet with it, are held against the folder's
    model.safetensors and model.json, as far as those are there.
    """
    weights, about = folder / "model.safetensors", folder / "model.json"
    try:
        graph = ov.Core().read_model(path)
        card, made = _metadata(graph, CARD), _metadata(graph, MADE)
        if card is None or made is None:
            return False
        if weights.is_file() and _history(made, path)["weights_sha256"] != sha256_of(weights):
            return False
        if not about.is_file():
            return True
        # by text: the same card was written with the same text, and NaN is not equal to itself
        wanted = Card.parse(about.read_text(encoding="utf-8"), about).to_json()
        return Card.parse(card, path).to_json() == wanted
    except (RuntimeError, UnicodeDecodeError, InputError):
        return False


def _metadata(graph: ov.Model, key: str) -> str | None:
    place = ["framework", key]
    return graph.get_rt_info(place).astype(str) if graph.has_rt_info(place) else None


def _history(text: str, path: Path) -> dict[str, Any]:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        made = None
    if not isinstance(made, dict) or not isinstance(made.get("weights_sha256"), str):
        raise InputError(f"{path}: damaged metadata ({MADE}); export_model.py makes the file anew")
    return made


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[-160:]
