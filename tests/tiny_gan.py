"""A GAN run of seconds, for tests; also as a process of its own:

python tests/tiny_gan.py OUT [STEPS] [DEVICES] [STYLE]
python tests/tiny_gan.py --whole REAL OUT DEVICES     from a store to a finished run
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gan.config import PRESETS, GanConfig
from gan.fit import fit
from gan.glyphs import Glyphs
from gan.networks import Generator, Recogniser
from gan.recogniser import Trained
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.handwriting import Style
from synth.store import Sample, Store, StoreWriter

CONFIG = replace(
    PRESETS["small"], steps=6, batch_size=8, checkpoint_every=2, grid_every=6, penalty_every=2
)

# Adam without momentum divides a gradient by its size: at the usual rate, rounding in the last bit
# turns the sign of steps where the gradient is nearly zero, and losses drift apart
STEADY = replace(CONFIG, generator_lr=2e-5, discriminator_lr=2e-5)


def strokes() -> tuple[np.ndarray, np.ndarray]:
    """[18, 64, 64] uint8 pictures of three characters, and which each shows."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(3), 6)
    images = np.zeros((18, 64, 64), np.uint8)
    for i, c in enumerate(of):
        images[i, 10 + 8 * c : 14 + 8 * c, 8:56] = 255
        images[i, 8:56, 8 + rng.integers(40)] = 255
    return images, of


def train(out: Path, config: GanConfig = CONFIG, devices: int = 1, compiled: bool = False) -> None:
    out.mkdir(exist_ok=True)
    images, of = strokes()
    torch.manual_seed(0)
    glyphs = Glyphs(images, of, ("a", "b", "c"))
    recogniser = Trained(Recogniser(3).eval(), np.ones(18, np.float32))
    fit(out, config, images, of, glyphs, glyphs, recogniser, 1, devices, compiled)


FONTS = ("klee-one", "tw-kai", "zen-kurenaido")


@contextmanager
def few_fonts() -> Iterator[None]:
    """Preparing a studio takes a second: three fonts, few other characters, no fitting."""
    import synth.fit
    from synth.fonts import find_fonts

    few = [font for font in find_fonts() if font.name in FONTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synth.studio.find_fonts", lambda folders: few)
        patch.setattr("synth.studio.MAX_CANDIDATES", 50)
        patch.setattr(synth.fit, "ROUNDS", 1)
        yield


def real_store(path: Path, alphabet: str, counts: Mapping[str, int]) -> Store:
    """Training images: other drawings for each, no two alike."""
    from conftest import draw_strokes

    with StoreWriter(path, Canvas(), Alphabet.of(alphabet), {}) as writer:
        for number, (char, count) in enumerate(counts.items()):
            images = [255 - np.asarray(draw_strokes(100 * number + i, 64)) for i in range(count)]
            writer.append(np.stack(images), [Sample(char, char, "real")] * count)
    return Store.open(path)


def write_run(
    path: Path,
    drawable: list[str] | None = None,
    styles: np.ndarray | None = None,
    chars: str = "ABC",
    more: Mapping[str, Any] | None = None,  # for generator.json
    **changes: Any,  # of the small preset
) -> Path:
    """A run of three characters as `gan.train.train` leaves it, untrained."""
    config = replace(PRESETS["small"], **changes)
    path.mkdir()
    torch.manual_seed(0)
    save_file(Generator(config, 64, len(chars)).state_dict(), path / "generator.safetensors")
    save_file(Recogniser(len(chars) + 1).state_dict(), path / "recogniser.safetensors")
    if styles is not None:
        np.save(path / "styles.npy", styles)
    info = {
        "config": asdict(config),
        "canvas": asdict(Canvas()),
        "style": asdict(Style()),
        "alphabet": list(chars),
        "recogniser_chars": [*chars, "x"],
        "drawable": drawable,
    }
    text = json.dumps(info | dict(more or {}), ensure_ascii=False)
    (path / "generator.json").write_text(text, "utf-8")
    return path


def train_whole(real: Path, out: Path, devices: int) -> None:
    """`gan.train.train` as scripts/train_gan.py calls it, recogniser and all."""
    import gan.train

    config = replace(STEADY, steps=10, grid_every=10, style="image")
    config = replace(config, recogniser_steps=12, recogniser_batch=16)
    with few_fonts():
        gan.train.train(Store.open(real), out, config, [], 1, {}, devices)


if __name__ == "__main__":
    from gan.processes import join

    if sys.argv[1] == "--whole":
        join(int(sys.argv[4]))
        train_whole(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        raise SystemExit(0)
    out, steps, devices, style = [*sys.argv[1:], *("6", "1", "noise")[len(sys.argv) - 2 :]]
    join(int(devices))
    small = replace(STEADY, steps=int(steps), style=style, grid_every=int(steps))
    train(Path(out), small, int(devices))
