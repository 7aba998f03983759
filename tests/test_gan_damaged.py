"""Damaged files of a GAN run, finished or not: one line, or the same again; no code is run."""

import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_cases import mutations, tried, try_all
from interrupting import Evil
from safetensors.torch import save_file
from tiny_gan import write_run

from gan.memorised import Neighbours
from gan.networks import Recogniser
from gan.run import GanRun
from gan.train import _kept_recogniser
from synth.errors import InputError

MEMORY_MIB = 1500
FILES = ("generator.json", "generator.safetensors", "recogniser.safetensors", "styles.npy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    styles = np.random.default_rng(0).random((5, 2, 48), np.float32)
    path = write_run(tmp_path_factory.mktemp("runs") / "good", styles=styles, style="image")
    np.save(path / "style_rows.npy", np.arange(5))
    return path


def opens(case: tuple[Path, str, bytes]) -> str:
    """A copy of a run's folder with one file replaced is opened and draws."""
    good, file, data = case
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "run"
        shutil.copytree(good, place)
        (place / file).write_bytes(data)
        run = GanRun.open(place)
        content = run.contents(np.zeros((1, 64, 64), np.uint8), ["A"])
        with torch.no_grad():
            style = torch.from_numpy(run.styles(np.arange(1), 1))
            made = run.generator(content, style, torch.zeros(1, 1, 64, 64))
        assert made.shape == (1, 1, 64, 64)
    return "opened"


@pytest.mark.parametrize("each", [7, pytest.param(60, marks=pytest.mark.slow)])
def test_damaged_runs(finished, each):
    cases = [
        (f"{file}, {what}", (finished, file, data))
        for file in (*FILES, "style_rows.npy")
        for what, data in [*mutations((finished / file).read_bytes(), each, each), ("empty", b"")]
    ]
    outcomes = try_all(opens, cases, MEMORY_MIB, each_s=20)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 4, outcomes


def test_code_in_a_run_is_never_run(finished, tmp_path):
    mark = tmp_path / "it ran"
    data = pickle.dumps({"weights": Evil(mark)})
    for file in FILES:
        place = tmp_path / "run"
        shutil.copytree(finished, place)
        (place / file).write_bytes(data)
        with pytest.raises(InputError):
            GanRun.open(place)
        tried(__name__, (file, data))
        shutil.rmtree(place)
    (tmp_path / "neighbours.npz").write_bytes(data)
    with pytest.raises(InputError, match="damaged; without it"):
        Neighbours.load(tmp_path / "neighbours.npz")
    assert not mark.exists()
    pickle.loads(data)  # it would have
    assert mark.exists()


def reads_neighbours(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as top:
        path = Path(top) / "neighbours.npz"
        path.write_bytes(data)
        Neighbours.load(path).distances(np.zeros((1, 64, 64), np.uint8), np.array(["a"]))
    return "loaded"


def test_damaged_neighbours(tmp_path):
    rng = np.random.default_rng(0)
    good = Neighbours(rng.integers(0, 256, (9, 16, 16)).astype(np.uint8), np.array(list("abc" * 3)))
    good.save(tmp_path / "n.npz")
    whole = (tmp_path / "n.npz").read_bytes()
    cases = [*mutations(whole, 28, 1), ("empty", b""), ("cut", whole[: len(whole) // 2])]
    outcomes = try_all(reads_neighbours, cases, MEMORY_MIB)
    assert outcomes.total() == 30 and outcomes["refused"] > 10, outcomes


def resumes_recogniser(case: tuple[Path, str, bytes]) -> str:
    good, file, data = case
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "run"
        shutil.copytree(good, place)
        (place / file).write_bytes(data)
        kept = _kept_recogniser(place, 4, 9)
        if kept is None:
            return "anew"
        assert kept.given.shape == (9,) and np.isfinite(kept.given).all()
    return "read back"


def test_a_damaged_recogniser_of_an_unfinished_run_is_trained_anew(tmp_path):
    good = tmp_path / "run"
    good.mkdir()
    torch.manual_seed(0)
    save_file(Recogniser(4).state_dict(), good / "recogniser.safetensors")
    np.save(good / "trusted.npy", np.linspace(0, 1, 9, dtype=np.float32))
    assert _kept_recogniser(good, 4, 9) is not None
    assert _kept_recogniser(good, 5, 9) is None and _kept_recogniser(good, 4, 8) is None
    cases = [
        (f"{file}, {what}", (good, file, data))
        for file in ("recogniser.safetensors", "trusted.npy")
        for what, data in [*mutations((good / file).read_bytes(), 14, 1), ("empty", b"")]
    ]
    outcomes = try_all(resumes_recogniser, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) == 30 and outcomes["anew"] > 10, outcomes
