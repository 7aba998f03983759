"""A finished run, opened: what it draws from, in which styles, and what it refuses."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_gan import write_run

from gan.run import GanRun
from synth.canvas import Canvas
from synth.errors import InputError
from synth.handwriting import Style
from synth.plan import Plan


def _write(path, *arguments, **changes):
    return GanRun.open(write_run(path, *arguments, **changes))


def test_a_run_of_glyphs_draws_from_any_glyph(tmp_path):
    run = _write(tmp_path / "run")
    glyphs = np.random.default_rng(0).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    content = run.contents(glyphs, ["A", "龍"])
    assert content.shape == (2, 1, 64, 64) and content.min() >= -1 and content.max() <= 1
    run.refuse_unknown(["龍"])
    noise = torch.zeros(2, 1, 64, 64)
    with torch.no_grad():
        made = run.generator(content, torch.from_numpy(run.styles(np.arange(2), 1)), noise)
    assert made.shape == (2, 1, 64, 64)


def test_a_run_of_class_numbers_refuses_by_name_what_it_had_no_images_of(tmp_path):
    run = _write(tmp_path / "run", drawable=["A", "C"], condition="class")
    glyphs = np.zeros((3, 64, 64), np.uint8)
    assert run.contents(glyphs, ["C", "A", "C"]).tolist() == [2, 0, 2]
    for char in "B龍":  # in its alphabet but without an image; and unknown altogether
        with pytest.raises(InputError, match=f"draws only the 2 .* not {char}"):
            run.contents(glyphs, ["C", char, "A"])
    with pytest.raises(InputError, match="and 10 more"):
        run.refuse_unknown([chr(0x4E00 + i) for i in range(50)])


def test_a_plan_is_cut_to_what_the_run_can_draw(tmp_path):
    run = _write(tmp_path / "run", drawable=["A", "C"], condition="class")
    char, kind = np.array([0, 1, 2, 0, 3]), np.array(["character"] * 3 + ["cut", "common"], object)
    label = np.array(["A", "B", "C", "other", "other"], object)
    split = np.array(["train"] * 5, object)
    chars = ("A", "B", "C", "x")
    plan = Plan((), chars, Style(), Canvas(), 1, char, char, np.arange(5), kind, label, split)
    cut = run.within_reach(plan)
    assert cut.label.tolist() == ["A", "C"] and cut.font.tolist() == [0, 2] and len(cut) == 2
    assert _write(tmp_path / "glyphs").within_reach(plan) is plan


def test_styles_are_pure_and_normal_or_read_off_images(tmp_path):
    numbers = np.arange(4000)
    noise = _write(tmp_path / "noise")
    drawn = noise.styles(numbers, 1)
    assert drawn.shape == (4000, noise.config.style_dim) and drawn.dtype == np.float32
    assert np.array_equal(drawn[7:9], noise.styles(numbers[7:9], 1))
    assert not np.array_equal(drawn, noise.styles(numbers, 2))
    # cut at 2.5 standard deviations, which takes a little off the spread
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 0.98) < 0.01

    # ten images: their styles are 0, 100, 200 ... with a doubt of 0.5
    bank = np.full((10, 2, noise.config.style_dim), 0.5, np.float32)
    bank[:, 0] = 100 * np.arange(10)[:, None]
    read = _write(tmp_path / "image", styles=bank, style="image").styles(numbers, 1)
    image = np.rint(read / 100)
    assert (image == image[:, :1]).all()  # all numbers of a style are one image's
    counts = np.bincount(image[:, 0].astype(int), minlength=10)
    assert (np.abs(counts - 400) < 3.5 * (400 * 0.9) ** 0.5).all()
    assert np.allclose(read - 100 * image, 0.5 * drawn, atol=1e-3)


def test_a_damaged_run_is_named(tmp_path):
    _write(tmp_path / "run", styles=np.zeros((2, 2, 48), np.float32), style="image")
    (tmp_path / "run" / "styles.npy").unlink()
    with pytest.raises(InputError, match="damaged GAN run"):
        GanRun.open(tmp_path / "run")
    with pytest.raises(InputError, match="no finished GAN run"):
        GanRun.open(tmp_path / "none")


def test_the_row_of_the_image_that_a_style_was_read_off(tmp_path):
    bank = np.zeros((10, 2, 48), np.float32)  # without doubt: a style is its image's number
    bank[:, 0] = np.arange(10)[:, None]
    numbers = np.arange(200)
    earlier = _write(tmp_path / "run", styles=bank, style="image")
    assert earlier.style_images(numbers, 1) is None  # an earlier version kept no rows
    rows = 7 * np.arange(10) + 3
    np.save(tmp_path / "run" / "style_rows.npy", rows)
    run = GanRun.open(tmp_path / "run")
    found = run.style_images(numbers, 1)
    assert (found == rows[run.styles(numbers, 1)[:, 0].astype(int)]).all()
    assert len(set(found.tolist())) == 10
    assert _write(tmp_path / "noise").style_images(numbers, 1) is None


def test_a_run_says_which_generator_it_is(tmp_path):
    run = _write(tmp_path / "run")
    file = tmp_path / "run" / "generator.safetensors"
    assert run.digest == hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, file)
    assert GanRun.open(tmp_path / "run").digest != run.digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("styles.npy", np.zeros((2, 2, 47), np.float32)),
        ("styles.npy", np.zeros((0, 2, 48), np.float32)),
        ("styles.npy", np.zeros((2, 2, 48))),
        ("styles.npy", np.full((2, 2, 48), np.nan, np.float32)),
        ("style_rows.npy", np.arange(3)),
        ("styles.npy", np.array([{}], object)),
    ],
)
def test_arrays_that_do_not_fit_the_run(name, value, tmp_path):
    good = np.zeros((2, 2, 48), np.float32)
    path = write_run(tmp_path / "run", styles=good, style="image")
    np.save(path / "style_rows.npy", np.arange(2))
    GanRun.open(path)
    np.save(path / name, value)
    with pytest.raises(InputError, match=f"damaged GAN run .*({name}|allow_pickle|Python objects)"):
        GanRun.open(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = write_run(tmp_path / "run")
    for name in ("generator", "recogniser"):
        file = path / f"{name}.safetensors"
        good, weights = file.read_bytes(), load_file(file)
        next(w for w in weights.values() if w.is_floating_point()).view(-1)[0] = float("nan")
        save_file(weights, file)
        with pytest.raises(InputError, match=rf"damaged GAN run .*{name}.* is not finite"):
            GanRun.open(path)
        file.write_bytes(good)
    GanRun.open(path)
