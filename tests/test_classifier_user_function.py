"""A user's own function: which device it is called on, and through the command."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_classifier_data import loader
from test_classifier_data import stores as stores  # the fixture

from classifier import images
from classifier.pipeline import Augment, CheckedFunction, load_function
from synth.canvas import Canvas, to_uint8
from synth.command import run
from synth.corpus import import_images
from synth.store import Store


def test_a_function_written_for_cupy_too_does_the_same_on_a_cpu(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.path", sys.path[:])
    function = load_function("scripts.augment_example:fade")
    plain, faded = (
        next(iter(loader(stores, Augment.none(), user_function=f))) for f in (None, function)
    )
    wanted = np.stack([function(image) for image in to_uint8(plain["images"][:, 0].numpy())])
    np.testing.assert_array_equal(to_uint8(faded["images"][:, 0].numpy()), wanted)
    assert (wanted != to_uint8(plain["images"][:, 0].numpy())).any()


def test_batches_are_made_on_a_gpu_but_for_a_function_that_takes_numpy_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from classifier import fit, user_function

    class Both:
        takes_cupy = True

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return image

    def devices() -> list[str]:
        functions = (None, CheckedFunction(lambda image: image, "f"), CheckedFunction(Both(), "f"))
        return [fit._batches_device(SimpleNamespace(user_function=f)) for f in functions]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(user_function, "find_spec", lambda name: None)
    assert devices() == ["gpu", "cpu", "cpu"]  # no CuPy to make its arrays
    monkeypatch.setattr(user_function, "find_spec", lambda name: name)
    assert devices() == ["gpu", "cpu", "gpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices() == ["cpu"] * 3


@pytest.mark.filterwarnings(
    "ignore:.*log_every_n_steps.*",
    "ignore:.*num_workers.*",
    "ignore:.*does not have many workers.*",
)
def test_the_command_trains_with_the_albumentations_example(
    load_script: Callable[[str], ModuleType],
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And with its own number of threads, and with images read from the stores as they come."""
    from classifier import loaders

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.path", [str(ROOT), *sys.path])
    example = importlib.import_module("scripts.augment_example")
    given: list[tuple] = []

    def noted(image: np.ndarray) -> np.ndarray:
        given.append((image.shape, image.dtype))
        return distort(image)

    def watched(*args: object, threads: int, **more: object) -> object:
        asked.append(threads)
        return build(*args, threads=threads, **more)

    def held(*_: object) -> None:
        raise AssertionError("a store was read into memory")

    distort, build, asked = example.distort, loaders.build, []
    monkeypatch.setattr(example, "distort", noted)
    monkeypatch.setattr(loaders, "build", watched)
    monkeypatch.setattr(images, "_read", held)
    real = import_images(image_folder, tmp_path / "real", None, Canvas(), workers=1)
    script, out = load_script("train_classifier"), tmp_path / "run"
    command = (
        f"--real {real.path} --out {out} --preset small --steps 3 "
        "--batch-size 8 --members 1 --precision 32-true --threads 1 --resident-gib 0 "
        "--augment scripts.augment_example:distort"
    )
    assert run(script.options(), script.main, command.split()) == 0
    assert len(given) == 3 * 8 and set(given) == {((64, 64), np.dtype(np.uint8))}
    assert set(asked) == {1}
    assert json.loads((out / "metrics.json").read_text("utf-8"))
