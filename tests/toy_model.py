"""An ONNX file that tells three stroke patterns apart, made by hand: no training, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image, ImageDraw

from classifier.card import Card
from classifier.onnx import CARD, INPUT, MADE, OUTPUT
from synth.alphabet import Alphabet
from synth.canvas import Canvas, normalise

Strokes = list[tuple[float, float, float, float]]
LINES: dict[str, Strokes] = {  # character -> its strokes on a paper of 1 x 1
    "一": [(0.1, 0.5, 0.9, 0.5)],
    "丨": [(0.5, 0.1, 0.5, 0.9)],
    "十": [(0.1, 0.5, 0.9, 0.5), (0.5, 0.1, 0.5, 0.9)],
}
SIX = {  # three more
    **LINES,
    "丄": [(0.1, 0.9, 0.9, 0.9), (0.5, 0.1, 0.5, 0.9)],
    "丅": [(0.1, 0.1, 0.9, 0.1), (0.5, 0.1, 0.5, 0.9)],
    "乚": [(0.1, 0.1, 0.1, 0.9), (0.1, 0.9, 0.9, 0.9)],
}
ALPHABET = Alphabet.of(LINES)
CROSS = [(0.1, 0.1, 0.9, 0.9), (0.9, 0.1, 0.1, 0.9)]  # none of them


def drawing(strokes, size_px: int = 120, width_px: int = 8) -> Image.Image:
    """Black strokes on white, mode L."""
    image = Image.new("L", (size_px, size_px), 255)
    pen = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in strokes:
        ends = [v * size_px for v in (x0, y0, x1, y1)]
        pen.line(ends, fill=0, width=width_px)
    return image


def write_toy_model(
    path: Path,
    weights_sha256: str = "0" * 64,
    lines: Mapping[str, Strokes] = LINES,
    compared: Mapping[str, Any] | None = None,  # what the file says of its comparison with torch
) -> Path:
    """Cosine to each pattern's picture; "other" where none is near. Writes the .onnx file."""
    canvas, alphabet = Canvas(), Alphabet.of(lines)
    pictures = [normalise(drawing(lines[c]), canvas).astype(np.float32) for c in alphabet.chars]
    columns = [p.ravel() / np.linalg.norm(p) for p in pictures]
    weight = np.stack([*columns, np.zeros_like(columns[0])], 1) * 40
    bias = np.array([0] * len(alphabet) + [40 * 0.75], np.float32)
    size = canvas.size_px

    def constant(name, array):
        return onnx.numpy_helper.from_array(array, name)

    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("ReduceL2", ["flat", "axes"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "one"], ["safe"]),
        helper.make_node("Div", ["flat", "safe"], ["unit"]),
        helper.make_node("Gemm", ["unit", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", size, size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", len(alphabet) + 1])],
        [
            constant("weight", weight.astype(np.float32)),
            constant("bias", bias),
            constant("axes", np.array([1], np.int64)),
            constant("one", np.array([1], np.float32)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = Card("toy", alphabet, (), canvas, 0.5, {})
    made = {"weights_sha256": weights_sha256, "versions": {}, "compared": compared or {}}
    for key, value in ((CARD, card.to_json()), (MADE, json.dumps(made))):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
