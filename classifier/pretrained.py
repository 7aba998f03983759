"""Weights that a network starts from: its library's, a file's, or a finished run's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from classifier.networks import timm_name
from synth.errors import InputError
from synth.lineage import LIBRARY

FIRST = "members.0."  # of the names of an ensemble's tensors


def start_from(network: nn.Module, name: str, source: str) -> tuple[int, list[str]]:
    """Loads what fits. Returns the number of tensors taken, and the names of those left fresh.

    source: "library" (the pretrained weights of the library that the network is of), a .safetensors
    or torch file, or the folder of a finished run. A first layer for three colours becomes one for
    gray by adding them up, which answers to a gray image as the colour one did. A head for other
    classes stays fresh. Raises InputError where there are no such weights, or less than half of the
    network's own are among them.
    """
    state = _library(name) if source == LIBRARY else _file(Path(source))
    own = network.state_dict()
    taken: dict[str, Tensor] = {}
    for key, mine in own.items():
        given = state.get(key)
        if given is None:
            continue
        if given.ndim == 4 and mine.ndim == 4 and given.shape[1] == 3 and mine.shape[1] == 1:
            given = given.sum(1, keepdim=True)
        if given.shape == mine.shape:
            taken[key] = given
    wanted = {n for n, _ in network.named_parameters()}
    if 2 * len(wanted & taken.keys()) < len(wanted):
        raise InputError(
            f"--pretrained {source}: {len(wanted & taken.keys())} of {len(wanted)} tensors of "
            f"{name} are in it; it holds another network"
        )
    network.load_state_dict(own | taken)
    return len(taken), sorted(wanted - taken.keys())


def _file(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name. Reading runs no code."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(f"--pretrained: no file {path}; give 'library', a weights file or a run")
    try:
        if path.suffix == ".safetensors":
            return _first_member(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"--pretrained {path}: no weights can be read from it ({line})") from None
    except Exception as error:  # pickle's own errors have no common base
        raise InputError(
            f"--pretrained {path}: no weights can be read from it ({type(error).__name__})"
        ) from None
    if isinstance(state, Mapping):
        for wrapper in ("state_dict", "model"):  # as training frameworks write them
            if isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
                break
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"--pretrained {path}: not a table of tensors by name")
    return state


def _first_member(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Of an ensemble's tensors those of its first network."""
    own = {k.removeprefix(FIRST): v for k, v in state.items() if k.startswith(FIRST)}
    return own or state


def _library(name: str) -> Mapping[str, Tensor]:
    try:
        return _fetch(name)
    except InputError:
        raise
    except Exception as error:  # each library and each network fails in its own way
        line = " ".join(str(error).split())[:200]
        raise InputError(
            f"--pretrained library: the weights of {name} cannot be fetched "
            f"({type(error).__name__}: {line}); fetch them elsewhere and give the file"
        ) from None


def _fetch(name: str) -> Mapping[str, Tensor]:
    if name == "compact":
        raise InputError("--pretrained library: nobody keeps weights of compact; give a file")
    if name.startswith("efficientnet-"):
        from efficientnet_pytorch.utils import url_map

        return torch.hub.load_state_dict_from_url(
            url_map[name], map_location="cpu", progress=False, weights_only=True
        )
    if known := timm_name(name):
        import timm

        return timm.create_model(known, pretrained=True).state_dict()
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    return weights.get_state_dict(progress=False, check_hash=True)
