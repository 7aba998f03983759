"""A trained model -> an ONNX file, checked against torch, with what bf16 costs in its metadata."""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classifier.export import Model
from classifier.onnx import CARD, INPUT, MADE, OUTPUT, has_bf16, load_onnx, measured_on
from synth.canvas import MEAN, STD
from synth.errors import InputError
from synth.extras import EXTRAS
from synth.files import sha256_of, write_whole
from synth.store import Store

MAX_DIFFERENCE = 1e-4  # of a probability, torch against ONNX, both in float32


class _Answering(nn.Module):
    """uint8 [n, H, W] -> probabilities [n, C]: `synth.canvas.to_float`, the network, softmax."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        x = (images.float() - MEAN) * (1 / STD)
        return torch.softmax(self.network(x[:, None]), 1)


def check_images(size_px: int, count: int = 128) -> np.ndarray:
    """[count, size, size] uint8: strokes at random, for a check where no images are given."""
    rng = np.random.default_rng(7)
    images = np.zeros((count, size_px, size_px), np.uint8)
    low, high = size_px // 8, size_px - size_px // 8
    for image in images:
        for _ in range(4):
            at, start, stop = rng.integers(low, high, 3)
            ink = rng.integers(128, 256)
            image[at : at + 3, min(start, stop) : max(start, stop)] = ink
            at, start, stop = rng.integers(low, high, 3)
            image[min(start, stop) : max(start, stop), at : at + 3] = ink
    return images


def export_onnx(
    model: Model,
    weights: Path,  # its model.safetensors
    out: Path,  # the .onnx file to write; its folder is made
    check: Store | None = None,  # labelled images to compare on; None: `check_images`
) -> dict[str, Any]:
    """Returns what stands in the file's metadata: the comparison, versions, the weights' digest.

    Raises InputError, with nothing written, where torch cannot write the network as ONNX, where the
    file does not answer as torch does, and where `check` does not fit the model.
    """
    made: dict[str, Any] = {"weights_sha256": sha256_of(weights), "versions": _versions()}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "model.onnx"
        try:
            _write_graph(model, part)
            _stamp(part, part, model.card.to_json(), made)
        except Exception as error:  # the exporter raises nearly anything for what it does not know
            if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
                raise
            line = " ".join(str(error).split())[:200]
            raise InputError(
                f"{weights.parent}: its network cannot be written as ONNX "
                f"({type(error).__name__}: {line})"
            ) from error
        made["compared"] = compare(model, part, check)
        difference = made["compared"]["f32"]["max_difference"]
        if not difference <= MAX_DIFFERENCE:  # nor where it is no number
            raise InputError(
                f"{out}: not written: ONNX and torch differ by {difference:.2g} in a probability, "
                f"{MAX_DIFFERENCE:.2g} is allowed"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        _stamp(part, out, model.card.to_json(), made)
    return made


def compare(model: Model, onnx: Path, check: Store | None) -> dict[str, Any]:
    """Torch against the file, on the same images, in float32 and, where this processor computes in
    it, bfloat16.

    For each: the largest difference of a probability, the share of equal answers, and with labelled
    images the accuracy of both. Raises InputError as `measured_on` does.
    """
    split: str | None = None
    truth: np.ndarray | None = None
    if check is None:
        images = check_images(model.card.canvas.size_px)
    else:
        check.require(model.card.canvas, model.card.alphabet)
        split, rows = measured_on(check)
        images, truth = check.take(rows), check.column("label")[rows]
    wanted = model.probabilities(images)
    labels = np.array(model.card.labels(wanted)[0])
    result: dict[str, Any] = {
        "images": len(images),
        "store": None if check is None else check.content,
        "split": split,
    }
    if truth is not None:
        result["torch"] = {"accuracy": float((labels == truth).mean())}
    for precision in ("f32", "bf16") if has_bf16() else ("f32",):
        loaded = load_onnx(onnx, precision)
        found = loaded.probabilities(images)
        answers = np.array(loaded.card.labels(found)[0])
        figures = {
            "max_difference": float(np.abs(found - wanted).max()),
            "same_answers": float((answers == labels).mean()),
        }
        if truth is not None:
            figures["accuracy"] = float((answers == truth).mean())
        result[precision] = figures
    return result


def _write_graph(model: Model, path: Path) -> None:
    size = model.card.canvas.size_px
    example = torch.zeros(2, size, size, dtype=torch.uint8)
    network = _Answering(model.network).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _stamp(source: Path, out: Path, card: str, made: dict[str, Any]) -> None:
    """Writes card and history into the metadata."""
    import onnx

    graph = onnx.load(source)
    del graph.metadata_props[:]
    for key, value in ((CARD, card), (MADE, json.dumps(made, ensure_ascii=False))):
        graph.metadata_props.add(key=key, value=value)
    graph.doc_string = ""
    onnx.checker.check_model(graph)
    write_whole(out, graph.SerializeToString())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "onnx", "openvino")}
