"""Lightning in two processes (gloo, CPU): each trains on its half, nothing is counted twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_classifier_data import BATCH, mix_of, write_store

from synth.store import Store

STEPS, STOP = 40, 17
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
import pytorch_lightning as pl
import torch
from classifier.data import MixData
from classifier.pipeline import Augment
from synth.store import Store
from test_classifier_data import mix_of


class Watcher(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.checked = [], []

    def training_step(self, batch, index):
        self.seen.append([batch["store"].tolist(), batch["row"].tolist()])
        return (self.weight * batch["images"].mean()).sum()

    def validation_step(self, batch, index):
        self.checked += batch["row"][batch["valid"]].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


folder, steps = Path(sys.argv[1]), int(sys.argv[2])
stores = [Store.open(folder / name) for name in ("real", "font", "gan")]
mix = mix_of(stores, 40)
data = MixData(
    stores, mix, Augment(), seed=5, steps_per_epoch=20, threads=1,
    val_stores=stores[:1], val_rows=[stores[0].rows("val")], val_targets=[stores[0].classes()],
)
if len(sys.argv) < 4:
    weights = [np.ones(len(pool.rows)) for pool in mix.pools]
    weights[0][::3] = 5  # a resumed run has them from its checkpoint
    data.set_weights(weights)
module = Watcher()
trainer = pl.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_steps=steps, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    num_sanity_val_steps=0, default_root_dir=folder,
)
trainer.fit(module, data, ckpt_path=sys.argv[3] if len(sys.argv) > 3 else None)
trainer.save_checkpoint(folder / f"{steps}.ckpt")
told = {"seen": module.seen, "checked": module.checked, "weight": module.weight.item()}
(folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(told))
"""


def fit(folder: Path, steps: int, *resume: Path) -> list[dict]:
    """What each of the two processes saw."""
    script = folder / "fit.py"
    script.write_text(SCRIPT, encoding="utf-8")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, script, folder, str(steps), *resume],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_share_every_batch_and_resume(tmp_path: Path) -> None:
    stores: list[Store] = [
        write_store(tmp_path / source, source, train, val)
        for source, train, val in (("real", 10, 5), ("font", 8, 0), ("gan", 6, 0))
    ]
    mix = mix_of(stores, STEPS)
    weights = [np.ones(len(pool.rows)) for pool in mix.pools]
    weights[0][::3] = 5
    mix = mix.with_weights(weights)
    wanted = [mix.batch(step) for step in range(STEPS)]
    whole = fit(tmp_path, STEPS)
    for rank, told in enumerate(whole):
        assert len(told["seen"]) == STEPS
        for (store, row), picks in zip(told["seen"], wanted, strict=True):
            assert len(row) == BATCH // 2
            assert store == picks.store[rank::2].tolist() and row == picks.row[rank::2].tolist()
    assert whole[0]["weight"] == whole[1]["weight"] != 0  # gradients were shared
    # every validation image once in each of the two epochs
    checked = sorted(whole[0]["checked"] + whole[1]["checked"])
    assert checked == sorted(stores[0].rows("val").tolist() * 2)

    first = fit(tmp_path, STOP)
    second = fit(tmp_path, STEPS, tmp_path / f"{STOP}.ckpt")
    for rank in (0, 1):
        assert first[rank]["seen"] + second[rank]["seen"] == whole[rank]["seen"]
