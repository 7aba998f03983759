"""A test set's files are answered as the training path would answer them, image by image.

The training path: import into a store, then the validation pipeline, DALI and torch. The other:
`predict.py` on the folder, and on the store.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_classifier_predict import variants
from test_classifier_train import OTHERS, _picture, finished, stores  # noqa: F401  fixtures

from classifier.data import EvalLoader
from classifier.export import load_model
from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.store import Store

pytestmark = [
    pytest.mark.slow,  # a whole training run
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings(
        "ignore:.*log_every_n_steps.*",
        "ignore:.*num_workers.*",
        "ignore:.*does not have many workers.*",
    ),
]
WITHIN = 1e-5  # of a confidence


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Each class in every mode, size, polarity and format; no two drawings alike."""
    top, rng = tmp_path_factory.mktemp("set") / "images", np.random.default_rng(5)
    for char in f"ABC{OTHERS}":
        label = "other" if char in OTHERS else char
        (top / label).mkdir(parents=True, exist_ok=True)
        names = list(variants(Image.new("L", (64, 64), 255)))
        for name in names:
            image = Image.fromarray(255 - _picture(char, rng))
            variants(image)[name].save(top / label / f"{char}_{name}")
    return top


def by_validation(run_folder: Path, store: Store) -> dict[str, tuple[str, float, float]]:
    """origin -> label, confidence, other score, through the pipeline that validation uses."""
    model = load_model(run_folder)
    rows = np.arange(len(store))
    loader = EvalLoader([store], [rows], [store.classes()], batch_size=32, threads=1)
    found, origin = {}, store.column("origin")
    with torch.inference_mode():
        for batch in loader:
            x = batch["images"].contiguous(memory_format=torch.channels_last)
            p = torch.softmax(model.network(x).float(), 1).numpy()
            for row, said in zip(batch["row"].tolist(), model.card.predictions(p), strict=True):
                found[origin[row]] = (said.label, said.confidence, said.other)
    return found


def by_script(load_script, run_folder: Path, images: Path, out: Path) -> list[dict]:
    script = load_script("predict")
    words = ["--model", run_folder, "--images", images, "--out", out, "--workers", "1"]
    assert run(script.options(), script.main, [str(w) for w in words]) == 0
    return pq.read_table(out).to_pylist()


def test_folder_store_and_validation_say_the_same(
    finished,  # noqa: F811
    folder,
    load_script,
    tmp_path,
):
    store = import_images(folder, tmp_path / "store", None, Canvas(), split="test")
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert len(store) == len(files) == 6 * len(variants(Image.new("L", (64, 64))))
    wanted = by_validation(finished, store)
    assert len({label for label, _, _ in wanted.values()}) >= 3  # it tells them apart

    of_folder = by_script(load_script, finished, folder, tmp_path / "folder.parquet")
    assert len(of_folder) == len(wanted)
    for row in of_folder:
        label, confidence, other = wanted[Path(row["path"]).relative_to(folder).as_posix()]
        assert row["label"] == label, row["path"]
        assert abs(row["confidence"] - confidence) <= WITHIN, row["path"]
        assert abs(row["other"] - other) <= WITHIN, row["path"]

    of_store = by_script(load_script, finished, store.path, tmp_path / "store.parquet")
    for row, origin in zip(of_store, store.column("origin"), strict=True):
        label, confidence, other = wanted[origin]
        assert row["label"] == label, origin
        assert abs(row["confidence"] - confidence) <= WITHIN, origin
        assert abs(row["other"] - other) <= WITHIN, origin
