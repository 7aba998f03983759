"""model.safetensors + model.json: all that predicting and serving need. Loading runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from classifier.networks import build_network
from classifier.rejection import answers, other_score
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.files import write_text, write_whole

FORMAT = 1


@dataclass(frozen=True)
class Model:
    """A trained classifier, ready to answer."""

    network: nn.Module
    name: str  # of the architecture
    alphabet: Alphabet
    others: tuple[str, ...]  # other characters that are classes of their own
    canvas: Canvas
    threshold: float  # of the other score
    info: dict[str, Any]

    @torch.no_grad()
    def probabilities(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """[N, H, W] uint8 -> [N, C] float32; C = known + 1 + other characters."""
        out = []
        for i in range(0, len(images), batch_size):
            x = torch.from_numpy(to_float(images[i : i + batch_size]))[:, None]
            logits = self.network(x.contiguous(memory_format=torch.channels_last)).float()
            out.append(torch.softmax(logits, 1).numpy())
        classes = len(self.alphabet) + 1 + len(self.others)
        return np.concatenate(out) if out else np.zeros((0, classes), np.float32)

    def predict(self, images: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
        """[N, H, W] uint8 -> labels, their confidence [N], other score [N].

        The confidence of "other" is the other score itself.
        """
        p = self.probabilities(images)
        known = len(self.alphabet)
        numbers = answers(p, known, self.threshold)
        score = other_score(p, known)
        labels = [self.alphabet.classes[i] for i in numbers]
        best = p[:, :known].max(1) if len(p) else np.zeros(0, np.float32)
        return labels, np.where(numbers == known, score, best), score


def save_model(
    folder: Path,
    network: nn.Module,
    name: str,
    alphabet: Alphabet,
    others: tuple[str, ...],
    canvas: Canvas,
    threshold: float,
    info: dict[str, Any],  # where it comes from: stores, settings, figures
) -> None:
    """Weights first: a folder with a model.json is complete."""
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    write_whole(folder / "model.safetensors", save(state))
    written = {
        "format": FORMAT,
        "model": name,
        "alphabet": list(alphabet.chars),
        "digest": alphabet.digest,
        "others": list(others),
        "canvas": asdict(canvas),
        "threshold": threshold,
        "info": info,
    }
    write_text(folder / "model.json", json.dumps(written, ensure_ascii=False, indent=1))


def load_model(folder: Path) -> Model:
    """Raises InputError for a folder that holds no whole model."""
    if not (folder / "model.json").is_file():
        raise InputError(f"{folder}: no model (no model.json in it); train_classifier.py makes one")
    try:
        written = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if written["format"] != FORMAT:
            raise InputError(f"{folder}: model format {written['format']}, this reads {FORMAT}")
        alphabet = Alphabet(tuple(written["alphabet"]))
        others = tuple(written["others"])
        network = build_network(written["model"], len(alphabet) + 1 + len(others))
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network = network.eval().to(memory_format=torch.channels_last)
        return Model(
            network,
            written["model"],
            alphabet,
            others,
            Canvas(**written["canvas"]),
            float(written["threshold"]),
            written["info"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: damaged model ({line})") from None
