"""Runtimes that answer by the same weights, and how long each takes. No benchmark by itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timing import Rates

LEAST_CALLS = 10  # a round, of whatever batch


@dataclass(frozen=True)
class Engine:
    """A model, loaded by one runtime."""

    answer: Callable[[np.ndarray], np.ndarray]  # [n, H, W] uint8 -> probabilities [n, C]
    is_float32: bool = True  # else it computes in fewer bits


def engines(onnx: Path, folder: Path, without: Sequence[str]) -> dict[str, Engine]:
    """Peers at their own defaults. Raises RuntimeError where torch.compile cannot compile here."""
    import openvino as ov
    import torch

    from classifier.export import load_model
    from classifier.onnx import load_onnx
    from synth.canvas import to_float

    def own(precision: str) -> Engine:
        loaded = load_onnx(onnx, precision)
        return Engine(loaded.probabilities, loaded.precision == "f32")

    found = {"ours": own("fast"), "ours again": own("fast"), "ours, float32": own("f32")}
    compiled = ov.Core().compile_model(onnx, "CPU")
    found["OpenVINO"] = Engine(
        lambda images: compiled([images])[0],
        compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32,
    )
    if "onnxruntime" not in without:
        import onnxruntime

        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        found["onnxruntime"] = Engine(lambda images: session.run(None, {"images": images})[0])
    model = load_model(folder)

    def by(run: Callable) -> Engine:
        def answer(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return run(torch.from_numpy(to_float(images))[:, None]).softmax(1).numpy()

        return Engine(answer)

    found["torch eager"] = by(model.network)
    if "torch.compile" not in without:
        run = by(torch.compile(model.network))
        try:
            run.answer(np.zeros((1, *[model.card.canvas.size_px] * 2), np.uint8))
        except Exception as error:
            line = str(error).strip().split("\n")[0]
            raise RuntimeError(
                f"torch.compile: {type(error).__name__}: {line}; it wants a C++ compiler, or "
                "--without torch.compile"
            ) from None
        found["torch.compile"] = run
    return found


def require_same(
    found: Mapping[str, Engine],
    images: np.ndarray,  # [n, H, W] uint8
    batch: int,  # of so many images at a time
    within: float,  # largest difference of a probability, of those in float32
    least: float,  # share of equal answers, of those in fewer bits
) -> None:
    """Holds all against ours in float32, before anything is timed: an engine that answers something
    else is not a faster one. Raises RuntimeError with its name."""
    parts = np.split(images, range(batch, len(images), batch))

    def of(engine: Engine) -> np.ndarray:
        return np.concatenate([np.asarray(engine.answer(part)) for part in parts])

    wanted = of(found["ours, float32"])
    for name, engine in found.items():
        said = of(engine)
        difference = float(np.abs(said - wanted).max())
        equal = float((said.argmax(1) == wanted.argmax(1)).mean())
        if not (difference <= within if engine.is_float32 else equal >= least):
            raise RuntimeError(
                f"{name}: answers {batch} images at a time otherwise than ours in float32: a "
                f"probability differs by {difference:.2g}, {equal:.2%} of the answers are equal"
            )


def latencies(
    found: Mapping[str, Engine], images: np.ndarray, rounds: int, calls: int, batch: int = 1
) -> dict[str, Rates]:
    """Seconds for `batch` images at once: the median of the calls of each round, the engines call
    by call, in an order drawn anew for each call by a fixed seed."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    names, rng = list(found), random.Random(1)
    for turn in range(-1, rounds):  # one to warm up
        spent: dict[str, list[float]] = {name: [] for name in found}
        for i in range(calls):
            some = images[np.arange(i * batch, (i + 1) * batch) % len(images)]
            for name in rng.sample(names, len(names)):
                began = time.perf_counter()
                found[name].answer(some)
                spent[name].append(time.perf_counter() - began)
        if turn >= 0:
            for name in names:
                seconds[name].append(float(np.median(spent[name])))
    return {name: Rates(name, tuple(values)) for name, values in seconds.items()}
