"""torch.compile is an option that changes no meaning, and no obstacle where it cannot work."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_gan import CONFIG, train

from gan.fit import compile_networks
from gan.lit import GanModule


def test_without_a_compiler_it_says_so_and_goes_on(monkeypatch, capsys):
    def nothing(*_, **__):
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", nothing)
    module = GanModule(CONFIG, 64, 3)
    compile_networks(module)
    said = capsys.readouterr().out
    assert "--compile: skipped" in said and "no compiler found" in said
    assert len(said.splitlines()) == 1
    assert module.generator._compiled_call_impl is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, about what its compiler uses
def test_compiled_networks_train_like_eager_ones(tmp_path):
    config = replace(CONFIG, steps=10, generator_lr=2e-5, discriminator_lr=2e-5)
    for name, compiled in (("eager", False), ("compiled", True)):
        train(tmp_path / name, config, compiled=compiled)
    eager, other = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text())
        for name in ("eager", "compiled")
    )
    assert eager.keys() == other.keys()
    for term, value in eager.items():
        assert abs(other[term] - value) < 2e-3 * max(1, abs(value)), term
    # the compiler leaves the names of the weights as they are
    names = [set(load_file(tmp_path / n / "generator.safetensors")) for n in ("eager", "compiled")]
    assert names[0] == names[1]
