"""Small data sets that the tests generate: folders of images that look like characters."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

# The same examples every time: a commit that was green stays green. The slow tests search anew.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

ROOT = Path(__file__).parent.parent
CHARS = "永國銀三"


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_run() -> Iterator[None]:
    """What is kept in a cache folder, glyphs that were drawn, say, is this run's, in its processes
    too: nothing comes from the user's folder, and nothing stays there."""
    with (
        # a service's thread may still draw and keep
        tempfile.TemporaryDirectory(prefix="inkfill-tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


def draw_strokes(seed: int, size_px: int = 72) -> Image.Image:
    """Four dark strokes and a ring on white, mode L; another seed is another drawing."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (size_px, size_px), 255)
    pen = ImageDraw.Draw(image)
    low, high = 0.15 * size_px, 0.85 * size_px
    for _ in range(4):
        pen.line(rng.uniform(low, high, 4).tolist(), fill=int(rng.integers(0, 60)), width=4)
    x, y = rng.uniform(low, 0.6 * size_px, 2)
    pen.ellipse((x, y, x + 0.2 * size_px, y + 0.25 * size_px), outline=20, width=3)
    return image


def write_images(top: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """top/<label>/<number>.png, each another drawing."""
    seed = first_seed
    for label, count in counts.items():
        (top / label).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            draw_strokes(seed).save(top / label / f"{i:03d}.png")
            seed += 1
    return top


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Four characters (20, 10, 5, 2 images) and 10 of "other"."""
    return write_images(
        tmp_path / "images", dict(zip((*CHARS, "other"), (20, 10, 5, 2, 10), strict=True))
    )


@pytest.fixture
def load_script() -> Callable[[str], ModuleType]:
    """load_script("import_data") -> the module scripts/import_data.py, freshly executed."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"scripts_{name}", ROOT / "scripts" / f"{name}.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def alike_images():
    """For stores of bars and rings that are all alike: the look for copies among them is off."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("classifier.train", "classifier.review"):
            patch.setattr(f"{module}.refuse_copies", lambda real: None)
        yield


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ONNX file that the service answers with."""
    from toy_model import write_toy_model

    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture
def running(onnx: Path) -> Iterator[Any]:
    """A service with it, asked over real connections."""
    from running_service import Running

    it = Running(onnx)
    yield it
    it.end()
