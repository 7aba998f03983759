"""What a run is made from: odd stores work or are refused by name, odd options are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_gan import CONFIG, strokes

from gan.config import PRESETS
from gan.fit import fit, read_styles
from gan.glyphs import Glyphs
from gan.networks import StyleEncoder
from gan.recogniser import train_recogniser
from gan.train import check_config, train
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter


def test_a_store_whose_characters_no_font_has_is_refused_by_name(tmp_path):
    chars = "永𒀀𓀀"  # a cuneiform sign and a hieroglyph
    with StoreWriter(tmp_path / "real", Canvas(), Alphabet.of(chars), {}) as writer:
        for char in chars:
            images = strokes()[0][:4]
            writer.append(images, [Sample(char, char, "real")] * len(images))
    real = Store.open(tmp_path / "real")
    with pytest.raises(InputError) as error:
        train(real, tmp_path / "run", CONFIG, [], 1, {})
    assert "𒀀" in str(error.value) and "𓀀" in str(error.value)
    assert "永" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")
@pytest.mark.parametrize("condition", ["glyph", "class"])
def test_a_class_with_a_single_image_or_none_works(condition, tmp_path):
    images, of = strokes()
    glyphs = Glyphs(images, of, ("a", "b", "c"))
    there = np.flatnonzero(of == 0).tolist() + np.flatnonzero(of == 1)[:1].tolist()
    trained = train_recogniser(
        images[there], of[there], images, of, 3, 6, 8, 1, torch.device("cpu"), torch.float32
    )
    assert trained.given.shape == (7,) and np.isfinite(trained.given).all()
    config = replace(CONFIG, steps=2, condition=condition)
    fit(tmp_path, config, images[there], of[there], glyphs, glyphs, trained, 1)
    assert (tmp_path / "generator.safetensors").is_file()
    assert (tmp_path / "grids" / "step_000002.png").is_file()


def test_styles_are_read_in_chunks_as_in_one(tmp_path):
    torch.manual_seed(0)
    encoder = StyleEncoder(5)
    images = np.random.default_rng(0).integers(0, 256, (600, 16, 16)).astype(np.uint8)
    with torch.no_grad():
        mean, log_var = encoder(torch.from_numpy(to_float(images))[:, None])
    read = read_styles(encoder, images)
    assert read.shape == (600, 2, 5)
    assert np.allclose(read[:, 0], mean, atol=1e-5)
    assert np.allclose(np.log(read[:, 1]) * 2, log_var, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "processes", "says"),
    [
        ({"generator": "draw"}, 1, "--generator 'draw': there are bend, paint"),
        ({"condition": "number"}, 1, "there are glyph, class"),
        ({"style": "none"}, 1, "there are noise, image"),
        ({"steps": 0}, 1, "--steps 0"),
        ({"batch_size": 9}, 2, "multiple of 2"),
        ({"batch_size": 2}, 2, "two each"),
    ],
)
def test_options_that_no_run_could_end_with(changes, processes, says):
    with pytest.raises(InputError, match=says):
        check_config(replace(PRESETS["small"], **changes), 1, processes)
