"""A machine with a GPU uses it in every part of a run, and answers there what a CPU answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_classifier_train import Stop, _config, _store

from classifier import export
from classifier import fit as fitting
from classifier.card import Card
from classifier.export import Model, load_model, save_model
from classifier.networks import build_network
from classifier.pipeline import CheckedFunction
from classifier.predict import open_model
from classifier.setup import prepare
from synth.alphabet import Alphabet
from synth.canvas import Canvas

ALPHABET = Alphabet.of("ABC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    out = tmp_path_factory.mktemp("model")
    save_model(out, build_network("compact", 5), "compact", ALPHABET, ("X",), Canvas(), 0.5, {})
    return out


class Elsewhere(torch.nn.Module):
    """Its weight lies where nothing can be computed; it notes where its images come to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))
        self.came_to: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.came_to.append(x.device.type)
        return torch.zeros(len(x), 5)


def test_images_go_where_the_network_is():
    network = Elsewhere()
    model = Model(network, Card("compact", ALPHABET, ("X",), Canvas(), 0.5, {}))
    p = model.probabilities(np.zeros((5, 64, 64), np.uint8), batch_size=2)
    assert network.came_to == ["meta"] * 3 and np.allclose(p, 0.2) and p.shape == (5, 5)


def test_predicting_takes_the_fastest_device(folder, monkeypatch):
    monkeypatch.setattr(export, "fastest_device", lambda: torch.device("meta"))
    assert next(open_model(folder).network.parameters()).device.type == "meta"
    assert next(load_model(folder).network.parameters()).device.type == "cpu"  # as exports need it


@pytest.mark.parametrize(
    ("cuda", "own", "wanted"), [(True, False, "gpu"), (False, False, "cpu"), (True, True, "cpu")]
)
def test_batches_are_made_on_the_gpu_but_for_functions_of_numpy(
    tmp_path, monkeypatch, cuda, own, wanted
):
    from dataclasses import replace

    real = _store(tmp_path / "real", "real", "ABC", 15)
    setup = prepare(real, [_store(tmp_path / "font", "font", "ABCX", 12)], _config(), 1, None)
    if own:
        setup = replace(setup, user_function=CheckedFunction(lambda image: image, "mine:same"))
    got = []

    def stop(*_, device, **__):
        got.append(device)
        raise Stop

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(fitting, "MixData", stop)
    with pytest.raises(Stop):
        fitting.fit(setup, tmp_path / "run", _config(), 1)
    assert got == [wanted]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_answers_what_the_cpu_answers(folder):
    images = np.random.default_rng(0).integers(0, 256, (300, 64, 64), np.uint8)
    on_gpu = open_model(folder)
    assert next(on_gpu.network.parameters()).is_cuda
    p = load_model(folder).probabilities(images)
    # TF32 convolutions keep 10 bits: a part in a thousand, and a few layers of it
    assert np.abs(on_gpu.probabilities(images) - p).max() < 1e-2
