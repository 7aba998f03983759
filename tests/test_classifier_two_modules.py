"""The classifier's own module in two processes (gloo, CPU): their norms, dropout and resume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_classifier_train import _store

from classifier.networks import build_network
from classifier.norms import measure_norms

STEPS, EPOCH = 8, 4
SCRIPT = f"""
import sys
from pathlib import Path
import pytorch_lightning as pl
import torch
from classifier.data import MixData
from classifier.lit import CheckedCheckpoints, ClassifierModule
from classifier.progress import Saver
from classifier.setup import prepare, steady_images
from synth.store import Store
from test_classifier_train import _config

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
config = _config(steps={STEPS}, steps_per_epoch={EPOCH}, batch_size=64, optimiser="sgd", lr=0.02)
setup = prepare(Store.open(folder / "real"), [Store.open(folder / "font")], config, 1, None)
data = MixData(
    setup.stores, setup.mix, setup.augment, seed=1, steps_per_epoch={EPOCH}, threads=1
)
steady = steady_images(setup, 1)
module = ClassifierModule(config, setup.mix.classes, 3, setup.bending, 1, steady=steady)
masks = {{}}
module.network.dropout.register_forward_hook(
    lambda layer, given, answer: masks.update({{module.global_step: answer[0] == 0}})
)
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=config.steps, max_epochs=-1,
    plugins=[CheckedCheckpoints()],
    callbacks=[Saver(out / "last.ckpt")] if len(sys.argv) < 4 else [], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    num_sanity_val_steps=0, use_distributed_sampler=False,
)
trainer.fit(module, data, ckpt_path=sys.argv[3] if len(sys.argv) > 3 else None, weights_only=True)
told = {{
    "average": module.average.module.state_dict(), "network": module.network.state_dict(),
    "steady": torch.from_numpy(module.steady), "masks": masks,
}}
torch.save(told, out / f"rank{{trainer.global_rank}}.pt")
"""


def fit(folder: Path, out: Path, *resume: Path) -> list[dict]:
    """What each of the two processes ended with."""
    out.mkdir()
    script = folder / "fit.py"
    script.write_text(SCRIPT, encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, script, folder, out, *resume],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_measure_the_same_norms_drop_out_apart_and_resume(tmp_path: Path) -> None:
    _store(tmp_path / "real", "real", "ABC", 40)
    _store(tmp_path / "font", "font", "ABCXYZ", 40)
    first, second = fit(tmp_path, tmp_path / "whole")
    for part in ("average", "network"):
        for key, value in first[part].items():
            if part == "average" or "running" not in key:  # the network's own norms see their half
                assert torch.equal(value, second[part][key]), key

    # the averaged weights are normalised as one process would do it, by the same images
    network = build_network("compact", 6)
    network.load_state_dict(first["average"])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    measure_norms(network.to(memory_format=torch.channels_last), first["steady"].numpy())
    for key, value in network.state_dict().items():
        torch.testing.assert_close(first["average"][key], value, rtol=1e-5, atol=1e-6)

    drawn = [told["masks"] for told in (first, second)]
    for step in range(STEPS):
        assert 0.1 < drawn[0][step].float().mean() < 0.3
        assert not torch.equal(drawn[0][step], drawn[1][step])

    # the checkpoint before the last one is of the first epoch
    again = fit(tmp_path, tmp_path / "resumed", tmp_path / "whole" / "last.ckpt.previous")
    for told, before in zip(again, (first, second), strict=True):
        assert sorted(told["masks"]) == list(range(EPOCH, STEPS))
        assert all(torch.equal(told["masks"][s], before["masks"][s]) for s in told["masks"])
        for part in ("average", "network"):
            for key, value in told[part].items():
                assert torch.equal(value, before[part][key]), key
