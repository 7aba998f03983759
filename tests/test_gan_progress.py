"""What a run shows: a bar, lines of figures, pictures of glyphs as files and in TensorBoard."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from interrupting import stop_gan_after
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_gan import CONFIG, train

from gan.lit import GanModule
from gan.progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")


def test_the_bar_shows_images_a_second_the_time_left_and_what_is_read():
    """At a third, two seconds after it went on at a sixth."""
    bar, module = Progress(CONFIG), GanModule(CONFIG, 64, 3)
    bar.on_exception()  # of before the training: no bar is there yet
    module.steps_done = 1
    trainer = SimpleNamespace(callback_metrics={"read": 0.75, "d_loss": 0.5, "r1": 0.125})
    bar.on_train_start(trainer, module)
    bar.bar._time = lambda: bar.bar.start_t + 2
    bar.on_train_batch_end(trainer, module, None, None, 0)
    told = str(bar.bar)
    assert told.startswith("GAN:  33%|") and " 16/48 " in told
    assert "[00:02<00:08,  4.00image/s, d_loss=0.50, read=0.75]" in told  # 8 images in 2 s
    bar.on_exception()
    assert bar.bar.disable  # closed


def test_a_resumed_run_writes_the_lines_of_an_unbroken_one(tmp_path, capsys):
    """Penalties are computed in steps 0 and 8, the checkpoint comes after the ninth and a line
    after the tenth: the line shows what the steps before the checkpoint computed."""
    config = replace(CONFIG, steps=10, penalty_every=8, checkpoint_every=9, grid_every=10)
    train(tmp_path / "whole", config)
    told = capsys.readouterr().err
    assert "image/s" in told and " read=" in told
    with stop_gan_after(9):
        train(tmp_path / "broken", config)
    train(tmp_path / "broken", config)
    lines = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "broken")]
    line = json.loads(lines[0])
    assert lines[0] == lines[1] and {"r1", "r2"} <= line.keys()
    assert 0 <= line["read"] * config.batch_size <= config.batch_size
    assert line["read"] * config.batch_size % 1 == 0  # a share of the batch's images


@pytest.mark.parametrize("style", ["noise", "image"])
def test_grids_stand_in_files_and_in_the_curves(style, tmp_path):
    train(tmp_path / "run", replace(CONFIG, steps=4, grid_every=2, style=style))
    curves = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    curves.Reload()
    assert curves.Tags()["images"] == ["grid"]
    shown = {event.step: event.encoded_image_string for event in curves.Images("grid")}
    assert shown.keys() == {2, 4}
    for step, encoded in shown.items():
        file = np.asarray(Image.open(tmp_path / "run" / "grids" / f"step_{step:06d}.png"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded)).convert("L")), file)
        # 16 glyphs, in a row of their own and six styles; in front the images of the styles
        assert file.shape == (64 * 7, 64 * (17 if style == "image" else 16))
    pictures = [np.asarray(Image.open(io.BytesIO(e)).convert("L")) for e in shown.values()]
    assert np.array_equal(pictures[0][:64], pictures[1][:64])  # the glyphs are fixed
    assert not np.array_equal(*pictures)
