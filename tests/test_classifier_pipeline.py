"""The DALI graph against numpy: normalisation, each augmentation, the user's function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from classifier.pipeline import Augment, CheckedFunction, Device, build, draw, load_function
from synth.canvas import to_float, to_uint8
from synth.errors import InputError

SIZE = 32
NONE = Augment.none()


def pictures(n: int = 6, size: int = SIZE) -> np.ndarray:
    """[n, H, W] uint8: smooth blobs with paper around them."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(n, size, size)), (0, 2, 2))
    images = np.clip(smooth * 2500, 0, 255)
    images[:, :5] = images[:, -5:] = images[:, :, :5] = images[:, :, -5:] = 0
    return images.astype(np.uint8)


def run(
    images: np.ndarray,
    augment: Augment = NONE,
    inputs: dict[str, np.ndarray] | None = None,
    threads: int = 1,
    user_function: CheckedFunction | None = None,
    device: Device = "cpu",
) -> np.ndarray:
    """One batch through the graph: [n, H, W] uint8 -> [n, 1, H, W] float32."""
    n, size = len(images), images.shape[1]
    drawn = draw(augment, 0, 0, n, size) | (inputs or {})
    pipeline = build(
        lambda number: {"images": images, **drawn},
        batch_size=n,
        threads=threads,
        augment=augment,
        user_function=user_function,
        device=device,
        device_id=0 if device == "gpu" else None,
    )
    (out,) = pipeline.run()
    whole = np.array((out.as_cpu() if device == "gpu" else out).as_tensor())
    return whole.reshape(n, 1, size, size)


@pytest.mark.parametrize("whole", [True, False])
def test_dali_equals_the_codec_to_the_last_bit(whole: bool) -> None:
    """As one sample, as it comes without augmentation, and image by image."""
    every_tone = np.random.default_rng(0).permuted(np.tile(np.arange(256), (5, 1)), axis=1)
    every_tone = every_tone.astype(np.uint8).reshape(5, 16, 16)
    nothing = dict.fromkeys(("erase_at_px", "erase_size_px"), np.zeros((5, 2), np.float32))
    erasing = Augment(**vars(NONE) | vars_of(erase_probability=1, erase_px=1))
    augment, inputs = (NONE, {}) if whole else (erasing, nothing)
    out = run(every_tone, augment, inputs)
    assert out.shape == (5, 1, 16, 16) and out.dtype == np.float32
    assert out.tobytes() == to_float(every_tone).tobytes()
    np.testing.assert_array_equal(to_uint8(out[:, 0]), every_tone)


def test_only_what_differs_from_image_to_image_makes_an_image_a_sample() -> None:
    images = pictures()
    same = CheckedFunction(lambda image: image, "mine:same")
    for augment, function, samples in ((NONE, None, 1), (Augment(), None, 6), (NONE, same, 6)):
        fed = {"images": images, **draw(augment, 0, 0, 6, SIZE)}
        pipeline = build(
            lambda number, fed=fed: fed,
            batch_size=6,
            threads=1,
            augment=augment,
            user_function=function,
        )
        (out,) = pipeline.run()
        assert len(out) == samples


def test_an_image_that_is_not_to_be_blurred_keeps_its_pixels() -> None:
    augment = Augment(**vars(NONE) | vars_of(blur_probability=0.5, blur_sigma_px=0.9))
    images = pictures(64)
    window = draw(augment, 0, 0, 64, SIZE)["blur_window_px"]
    assert set(window) == {1, 5}
    changed = (to_uint8(run(images, augment)[:, 0]) != images).any((1, 2))
    np.testing.assert_array_equal(changed, window == 5)


def test_none_leaves_images_alone() -> None:
    images = pictures()
    assert draw(NONE, 1, 2, 3, SIZE) == {}
    np.testing.assert_array_equal(to_uint8(run(images)[:, 0]), images)


def test_identity_parameters_leave_images_alone() -> None:
    """Each node, given the parameters that mean nothing, changes no pixel."""
    images = pictures()
    n = len(images)
    identity = {
        "matrix": np.repeat(np.eye(3, dtype=np.float32)[None], n, 0),
        "blur_sigma_px": np.full(n, 0.05, np.float32),
        "blur_window_px": np.full(n, 5, np.int32),
        "gain": np.ones(n, np.float32),
        "shift": np.zeros(n, np.float32),
        "noise": np.full((n, SIZE, SIZE), 99, np.int8),
        "noise_gain": np.zeros(n, np.float32),
        "erase_at_px": np.zeros((n, 2), np.float32),
        "erase_size_px": np.zeros((n, 2), np.float32),
        "grid_ratio": np.zeros(n, np.float32),
    }
    everything = Augment(perspective=0.1, grid_probability=0.5)
    assert set(identity) <= set(everything.inputs)
    np.testing.assert_array_equal(to_uint8(run(images, everything, identity)[:, 0]), images)


@pytest.mark.parametrize("perspective", [0.0, 0.3])
def test_warp_equals_scipy(perspective: float) -> None:
    ranges = vars_of(rotation_deg=20, scale=0.2, shear_deg=10, perspective=perspective)
    augment = Augment(**vars(NONE) | ranges)
    images = pictures()
    matrix = draw(augment, 0, 0, len(images), SIZE)["matrix"].astype(np.float64)
    assert (matrix[:, 2, :2] != 0).all() == bool(perspective)
    y, x = np.indices((SIZE, SIZE)) + 0.5
    pixels = np.stack([x, y, np.ones_like(x)])
    out = to_uint8(run(images, augment)[:, 0]).astype(float)
    for image, m, warped in zip(images, matrix, out, strict=True):
        at = np.einsum("ij,jyx->iyx", m, pixels)
        at = at[:2] / at[2] - 0.5
        wanted = ndimage.map_coordinates(image.astype(float), at[::-1], order=1, mode="constant")
        # on a CPU places are rounded to 1/32 pixel: half of that times the steepest step
        steepest = np.abs(np.diff(image.astype(float), axis=0)).max()
        assert np.abs(warped - wanted).max() <= 1 + 2 * steepest / 64
        assert np.abs(warped - wanted).mean() < 0.5


def test_perspective_moves_the_corners_as_far_as_it_says() -> None:
    """Corner (x, y) about the middle goes to (x, y) / (1 + tilt)."""
    augment = Augment(**vars(NONE) | vars_of(perspective=0.2))
    matrix = draw(augment, 0, 0, 500, SIZE)["matrix"].astype(np.float64)
    corners = np.array([[x, y, 1.0] for x in (0, SIZE) for y in (0, SIZE)]).T
    seen = np.linalg.inv(matrix) @ corners
    distance = np.abs(seen[:, :2] / seen[:, 2:] - SIZE / 2) / (SIZE / 2)
    assert distance.min() >= 1 / 1.4 - 1e-6 and distance.max() <= 1 / 0.6 + 1e-6
    assert distance.min() < 0.8 and distance.max() > 1.4
    middle = np.linalg.inv(matrix) @ np.array([SIZE / 2, SIZE / 2, 1])
    np.testing.assert_allclose(middle[:, :2] / middle[:, 2:], SIZE / 2, rtol=1e-5)


def test_a_grid_covers_the_drawn_share_and_nothing_else_changes() -> None:
    augment = Augment(**vars(NONE) | vars_of(grid_probability=0.5, grid_px=12, grid_share=0.5))
    full = np.full((200, 64, 64), 200, np.uint8)
    inputs = draw(augment, 0, 0, 200, 64)
    out = to_uint8(run(full, augment, inputs)[:, 0])
    assert set(np.unique(out)) == {0, 200}
    share = (out == 0).mean((1, 2))
    assert np.abs(share - inputs["grid_ratio"] ** 2).max() < 0.1
    assert abs((share - inputs["grid_ratio"] ** 2).mean()) < 0.01
    hit = (inputs["grid_ratio"] > 0).mean()
    assert abs(hit - 0.5) <= 3 * np.sqrt(0.25 / 200)
    assert inputs["grid_px"].min() >= 8 and inputs["grid_px"].max() <= 12
    # squares side by side: upright, the pattern repeats after one tile
    upright = inputs | {"grid_angle": np.zeros(200, np.float32)}
    out = to_uint8(run(full, augment, upright)[:, 0])
    for image, tile in zip(out, inputs["grid_px"], strict=True):
        np.testing.assert_array_equal(image[:, tile:], image[:, :-tile])
        np.testing.assert_array_equal(image[tile:], image[:-tile])


@pytest.mark.parametrize("strength", [0.01, 0.1, 0.15])
def test_a_grid_that_is_too_fine_to_be_one_is_left_out(strength: float) -> None:
    """Squares of paper 16 px apart, times that. DALI takes no distance of 0, and a grid of one
    pixel would cover whole pictures."""
    augment = Augment(**vars(NONE) | vars_of(grid_probability=1, grid_px=16, grid_share=0.9))
    drawn = draw(augment.scaled(strength), 0, 0, 200, 64)
    assert drawn["grid_px"].min() >= 2
    full = np.full((200, 64, 64), 200, np.uint8)
    out = to_uint8(run(full, augment, drawn)[:, 0])
    covered = (out == 0).mean((1, 2))
    assert covered.max() < 0.9 * strength + 0.3
    if 16 * strength < 2:
        assert not covered.any()
    whole = draw(augment, 0, 0, 200, 64)
    assert whole["grid_px"].min() >= 8 and (whole["grid_ratio"] > 0).all()


def vars_of(**values: float) -> dict[str, float]:
    return values


ALONE = {  # ranges of one augmentation -> most levels of 255 that a pixel may differ by
    # places are exact on a GPU and rounded to 1/32 pixel on a CPU: half of that, and a steep step
    "warp": (vars_of(rotation_deg=20, scale=0.2, shear_deg=10, perspective=0.2), 1 + 2 * 255 / 64),
    "blur": (vars_of(blur_probability=1, blur_sigma_px=0.9), 1),
    "tone": (vars_of(fade=0.4, contrast=0.8, brightness=40), 1),
    "noise": (vars_of(noise_probability=1, noise_sigma=20), 1),
    "erase": (vars_of(erase_probability=1, erase_px=12), 0),
    "grid": (vars_of(grid_probability=1, grid_px=12, grid_share=0.5), 255),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", ALONE)
def test_each_augmentation_alone_does_on_a_gpu_what_it_does_on_a_cpu(name: str) -> None:
    ranges, most = ALONE[name]
    augment, images = Augment(**vars(NONE) | ranges), pictures(64)
    cpu, gpu = (run(images, augment, device=device) for device in ("cpu", "gpu"))
    assert (cpu != to_float(images)[:, None]).any()
    levels = np.abs(gpu - cpu) * 127.5
    assert levels.max() <= most + 1e-3
    assert levels.mean() < 0.5
    # a square's edge may round to the other side; where it does not, nothing differs
    assert (levels > 1.5).mean() < {"warp": 0.1, "grid": 0.01}.get(name, 1e-9)


def test_one_quarter_turn_is_rot90() -> None:
    images = pictures()
    turn = np.repeat(np.float32([[[0, -1, SIZE], [1, 0, 0], [0, 0, 1]]]), len(images), 0)
    augment = Augment(**vars(NONE) | vars_of(rotation_deg=1))
    out = to_uint8(run(images, augment, {"matrix": turn})[:, 0])
    np.testing.assert_array_equal(out, np.rot90(images, 1, (1, 2)))


def test_translation_moves_by_whole_pixels_to_the_right_and_down() -> None:
    augment = Augment(**vars(NONE) | vars_of(translate_px=3))
    images = pictures()
    matrix = draw(augment, 0, 0, len(images), SIZE)["matrix"]
    assert np.abs(matrix[:, :2, 2]).max() <= 3
    matrix[:, :2, 2] = (-2, -1)  # taken from 2 to the left and 1 above
    out = to_uint8(run(images, augment, {"matrix": matrix})[:, 0])
    np.testing.assert_array_equal(out, np.roll(images, (1, 2), (1, 2)))


def test_blur_equals_a_gaussian_of_5_pixels() -> None:
    augment = Augment(**vars(NONE) | vars_of(blur_probability=1, blur_sigma_px=0.9))
    images = pictures()
    sigma = draw(augment, 0, 0, len(images), SIZE)["blur_sigma_px"]
    assert (sigma >= 0.3).all() and (sigma <= 0.9).all()
    out = to_uint8(run(images, augment)[:, 0])
    for image, s, blurred in zip(images, sigma, out, strict=True):
        wanted = ndimage.gaussian_filter(image.astype(float), s, mode="mirror", radius=2)
        assert np.abs(blurred - wanted).max() <= 1


def test_tone_equals_the_formula_and_paper_stays_paper() -> None:
    augment = Augment(**vars(NONE) | vars_of(fade=0.4, contrast=0.8, brightness=40))
    images = pictures(64)
    inputs = draw(augment, 0, 0, len(images), SIZE)
    gain, shift = inputs["gain"][:, None, None], inputs["shift"][:, None, None]
    wanted = np.clip(images * gain.astype(float) + 255 * shift, 0, 255)
    out = to_uint8(run(images, augment)[:, 0])
    assert np.abs(out - wanted).max() <= 0.5 + 1e-3
    assert (out[images == 0] == 0).all()


def test_noise_has_the_wanted_sigma_and_differs_between_images() -> None:
    augment = Augment(**vars(NONE) | vars_of(noise_probability=1, noise_sigma=20))
    inputs = draw(augment, 5, 0, 400, SIZE)
    noise = inputs["noise"] * inputs["noise_gain"][:, None, None]
    sigma = noise.std((1, 2))
    assert sigma.max() <= 20 * 1.1 and abs(sigma.mean() - 10) < 3 * 20 / np.sqrt(12 * 400)
    a, b = noise[0] / sigma[0], noise[1] / sigma[1]
    assert abs((a * b).mean()) < 4 / SIZE  # 4 sigma of uncorrelated noise
    gray = np.full((400, SIZE, SIZE), 128, np.uint8)
    added = run(gray, augment, inputs)[:, 0]
    assert np.abs(to_uint8(added) - (gray + noise)).max() <= 0.5 + 1e-3


def test_erasing_puts_a_box_of_paper_there() -> None:
    augment = Augment(**vars(NONE) | vars_of(erase_probability=0.5, erase_px=12))
    full = np.full((64, SIZE, SIZE), 200, np.uint8)
    inputs = draw(augment, 0, 0, 64, SIZE)
    out = to_uint8(run(full, augment)[:, 0])
    for image, (y, x), (h, w) in zip(
        out, inputs["erase_at_px"].astype(int), inputs["erase_size_px"].astype(int), strict=True
    ):
        wanted = full[0].copy()
        wanted[y : y + h, x : x + w] = 0
        np.testing.assert_array_equal(image, wanted)
    hit = inputs["erase_size_px"].any(1).mean()
    assert abs(hit - 0.5) <= 3 * np.sqrt(0.25 / 64)


def test_parameters_are_a_function_of_seed_and_step() -> None:
    augment = Augment(perspective=0.1, grid_probability=1)
    one, two, later = (draw(augment, 1, step, 16, SIZE) for step in (7, 7, 8))
    assert tuple(one) == augment.inputs
    for name in one:
        types = {"noise": np.int8, "grid_px": np.int32, "blur_window_px": np.int32}
        assert one[name].dtype == types.get(name, np.float32)
        np.testing.assert_array_equal(one[name], two[name])
        assert not np.array_equal(one[name], later[name])


def test_switching_one_step_off_leaves_the_others_as_they_were() -> None:
    everything = Augment(perspective=0.1, grid_probability=1)
    whole = draw(everything, 1, 2, 8, SIZE)
    for off in (
        *("blur_probability", "noise_probability", "erase_probability", "grid_probability"),
        "perspective",
    ):
        part = draw(Augment(**vars(everything) | {off: 0.0}), 1, 2, 8, SIZE)
        for name, array in part.items():
            if (off, name) != ("perspective", "matrix"):
                np.testing.assert_array_equal(array, whole[name])


def test_threads_do_not_change_a_byte() -> None:
    images, everything = pictures(32), Augment(perspective=0.1, grid_probability=1)
    one, three = (run(images, everything, threads=threads).tobytes() for threads in (1, 3))
    assert one == three


def test_strength_scales_the_ranges() -> None:
    assert Augment().scaled(0) == NONE
    assert Augment().scaled(1) == Augment()
    twice = Augment(blur_probability=0.8, fade=0.7).scaled(2)
    assert twice.rotation_deg == 16 and twice.blur_probability == 1 and twice.fade == 1
    with pytest.raises(InputError, match="strength 3"):
        Augment().scaled(3)
    with pytest.raises(InputError, match="rotation_deg -1"):
        Augment(rotation_deg=-1)
    with pytest.raises(InputError, match="blur_probability 2"):
        Augment(blur_probability=2)
    assert Augment(perspective=0.3, grid_share=0.8).scaled(2).perspective == 0.4
    for name, value in (("perspective", 0.5), ("grid_share", 1.0), ("fade", 1.5)):
        with pytest.raises(InputError, match=f"{name} {value} is not between 0 and"):
            Augment(**{name: value})


def test_ranges_by_name() -> None:
    assert Augment.of({}) == Augment()
    assert Augment.of({"perspective": 0.1}) == Augment(perspective=0.1)
    with pytest.raises(InputError, match=r"'tilt'; there are rotation_deg, .*perspective"):
        Augment.of({"tilt": 0.1})


def test_a_users_function_gets_single_images_and_acts_before_the_normalisation() -> None:
    images = pictures()
    function = CheckedFunction(lambda image: image[::-1].copy(), "mine:flip")
    out = run(images, user_function=function)
    np.testing.assert_array_equal(to_uint8(out[:, 0]), images[:, ::-1])


def raises(image: np.ndarray) -> np.ndarray:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: image[1:], r"mine:f: gave \(31, 32\) uint8 for an image \(32, 32\) uint8"),
        (lambda image: image / np.float32(2), "gave .* float32 for an image"),
        (lambda image: np.full(image.shape, np.nan), r"gave NaN in \(32, 32\) float64"),
        (lambda image: None, "gave NoneType, not an array"),
        (raises, "mine:f: KeyError: 'no such thing'"),
    ],
)
def test_a_wrong_answer_of_a_users_function_names_it(function: Callable, message: str) -> None:
    checked = CheckedFunction(function, "mine:f")
    with pytest.raises(RuntimeError):
        run(pictures(), user_function=checked)
    with pytest.raises(InputError, match=message):
        raise checked.error


def test_load_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inkfill_test_hook.py").write_text(
        "def same(image):\n    return image\nnumber = 3\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path[:])
    image = pictures(1)[0]
    assert load_function("inkfill_test_hook:same")(image) is image
    for spec, message in [
        ("inkfill_test_hook", "not of the form module:function"),
        ("inkfill_no_such_module:f", "no module 'inkfill_no_such_module'"),
        ("inkfill_test_hook:none", "has no 'none'"),
        ("inkfill_test_hook:number", "number is not a function"),
    ]:
        with pytest.raises(InputError, match=message):
            load_function(spec)
