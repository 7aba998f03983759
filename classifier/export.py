"""model.safetensors + model.json: all that predicting and serving need. Loading runs no code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from classifier.card import Card
from classifier.layers import replace_layers
from classifier.networks import Ensemble, build_network
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.files import write_text, write_whole


def fastest_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Model:
    """A trained classifier, ready to answer, on whatever device its network is."""

    network: nn.Module
    card: Card

    @property
    def others(self) -> tuple[str, ...]:
        return self.card.others

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """[N, H, W] uint8 -> [N, C] float32; C = known + 1 + other characters."""
        device, out = next(self.network.parameters()).device, []
        for i in range(0, len(images), batch_size):
            x = torch.from_numpy(to_float(images[i : i + batch_size]))[:, None].to(device)
            logits = self.network(x.contiguous(memory_format=torch.channels_last)).float()
            out.append(torch.softmax(logits, 1).cpu().numpy())
        return np.concatenate(out) if out else np.zeros((0, self.card.classes), np.float32)

    def predict(self, images: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
        """[N, H, W] uint8 -> labels, their confidence [N], other score [N].

        The confidence of "other" is the other score itself.
        """
        return self.card.labels(self.probabilities(images))


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
    write_weights(folder / "model.safetensors", network)
    members = len(network.members) if isinstance(network, Ensemble) else 1
    card = Card(name, alphabet, others, canvas, threshold, info, members)
    write_text(folder / "model.json", card.to_json())


def write_weights(path: Path, network: nn.Module) -> None:
    """As safetensors, the whole file or none."""
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    write_whole(path, save(state))


def load_model(folder: Path, own_code: bool = False, device: torch.device | str = "cpu") -> Model:
    """Raises InputError for a folder that holds no whole model.

    A model whose layers a user's own classes replaced names code that must run to load it; that
    happens with `own_code` only.
    """
    if not (folder / "model.json").is_file():
        raise InputError(f"{folder}: no model (no model.json in it); train_classifier.py makes one")
    try:
        card = Card.parse((folder / "model.json").read_text(encoding="utf-8"), folder)
        replaced = card.info.get("config", {}).get("replace") or ()
        if replaced and not own_code:
            raise InputError(
                f"{folder}: its layers are code of its maker's ({', '.join(replaced)}); with "
                "--own-code that code is imported and run"
            )
        networks = [build_network(card.name, card.classes) for _ in range(card.members)]
        for network in networks:
            replace_layers(network, replaced)
        network = networks[0] if card.members == 1 else Ensemble(networks)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network = network.eval().to(memory_format=torch.channels_last).to(device)
        return Model(network, card)
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: damaged model ({line})") from None
