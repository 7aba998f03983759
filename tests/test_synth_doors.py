"""Images that are measured on are refused, by name, at every door to training."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import draw_strokes, write_images
from PIL import Image

from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.decode import decode
from synth.errors import InputError
from synth.near_copies import COPY_DISTANCE, distances
from synth.provenance import refuse_leaks
from synth.store import Sample, Store, StoreWriter

pytestmark = pytest.mark.filterwarnings("ignore")  # of what torch and Lightning deprecate


def again(seed: int, factor: float = 0.7, quality: int = 75) -> np.ndarray:
    """[1, 64, 64] uint8: the drawing of a seed, rescaled and saved as JPEG."""
    image = draw_strokes(seed)
    small = image.resize((round(image.width * factor),) * 2, Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=quality)
    return decode(stream.getvalue(), Canvas())[None]


@pytest.fixture
def real(tmp_path: Path) -> Store:
    """Drawings 0 to 23: A and B."""
    top = write_images(tmp_path / "images", {"A": 12, "B": 12})
    return import_images(top, tmp_path / "real", None, Canvas(), val_share=0.25)


def store_of(path: Path, real: Store, image: np.ndarray, source: str, split: str) -> Store:
    with StoreWriter(path, real.canvas, real.alphabet, {}) as writer:
        writer.append(image, [Sample("A", "A", source, split, origin="copy.png")])
    return Store.open(path)


def seed_of(store: Store, row: int) -> int:
    """Of the drawing in a row of `real`."""
    label, _, name = store.column("origin")[row].partition("/")
    return 12 * "AB".index(label) + int(Path(name).stem)


@pytest.fixture
def tested(real: Store, tmp_path: Path) -> Store:
    """A store to be measured on, with a copy of a training image in it."""
    row = int(real.rows("train")[3])
    return store_of(tmp_path / "tested", real, again(seed_of(real, row)), "real", "test")


@pytest.mark.parametrize("name", ["render_fonts", "train_gan"])
def test_what_learns_of_real_images_refuses_copies_of_a_test_store(
    name: str,
    real: Store,
    tested: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_script(name)
    words = ["--real", str(real.path), "--out", str(tmp_path / "out")]
    words += ["--apart-from", str(tested.path)]
    assert run(script.options(), script.main, words) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert f"copy.png (test) is nearly a training image of {real.path}" in error
    assert not (tmp_path / "out").exists()


def test_a_test_store_with_copies_is_refused_unless_allowed(
    real: Store,
    tested: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[Path] = []
    monkeypatch.setattr("classifier.train.train", lambda *a, **k: trained.append(a[2]) or {})
    script = load_script("train_classifier")
    out = tmp_path / "out"
    words = ["--real", str(real.path), "--out", str(out), "--test", str(tested.path)]
    assert run(script.options(), script.main, words) == 2
    error = capsys.readouterr().err
    assert "1 training images are copies" in error and "--allow-copies" in error and not trained
    assert run(script.options(), script.main, [*words, "--allow-copies"]) == 0
    assert "of copy.png" in capsys.readouterr().out and trained == [out]
    # a finished run is not looked through again
    monkeypatch.setattr("synth.near_copies.told_copies", None)
    out.mkdir()
    (out / "metrics.json").write_text("{}", "utf-8")
    assert run(script.options(), script.main, words) == 0 and trained == [out, out]


@pytest.mark.parametrize("how", ["equal", "nearly"])
@pytest.mark.parametrize("of", ["val", "test"])
def test_a_synthetic_store_that_holds_what_is_measured_trains_no_classifier(
    how: str, of: str, real: Store, tmp_path: Path
) -> None:
    from classifier.config import PRESETS
    from classifier.train import train

    row = int(real.rows("val")[0])
    test, name = None, real.column("origin")[row]
    if of == "test":
        stream = io.BytesIO()
        draw_strokes(99).save(stream, "PNG")
        image = decode(stream.getvalue(), Canvas())[None]
        test, name = store_of(tmp_path / "test", real, image, "real", "test"), "copy.png"
        copy = image if how == "equal" else again(99)
    else:
        copy = real.images[[row]] if how == "equal" else again(seed_of(real, row))
    synth = store_of(tmp_path / "synth", real, copy, "real", "train")
    words = "is a training" if how == "equal" else "is nearly a training"
    with pytest.raises(InputError, match=rf"{name} \({of}\) {words} image of .*synth"):
        train(real, [synth], tmp_path / "out", PRESETS["demo"], 1, {}, test)
    assert not (tmp_path / "out").exists()


def test_an_image_of_a_font_that_lies_near_a_written_one_is_no_copy_an_equal_or_generated_one_is(
    real: Store, tmp_path: Path
) -> None:
    row = int(real.rows("val")[0])
    near = again(seed_of(real, row))
    assert distances(near, real.images[[row]])[0] < COPY_DISTANCE
    refuse_leaks(real, [store_of(tmp_path / "near", real, near, "font", "train")], None)
    generated = store_of(tmp_path / "generated", real, near, "gan", "train")
    with pytest.raises(InputError, match=r"is nearly a training image of .*generated"):
        refuse_leaks(real, [generated], None)
    equal = store_of(tmp_path / "equal", real, real.images[[row]], "gan", "train")
    with pytest.raises(InputError, match="is a training image"):
        refuse_leaks(real, [equal], None)
    val = store_of(tmp_path / "val", real, real.images[[row]], "gan", "val")
    refuse_leaks(real, [val], None)  # of that none is trained on


def generated_of(
    top: Path, real: Store, behind: Store | None, source: str = "gan", **notes: str
) -> Store:
    """A generated store in `top`/made, of the GAN run `top`/gan that learned from `behind`; a font
    store whose pen did."""
    if behind is not None and source == "font":
        notes |= {"real": str(behind.path), "trained_on": behind.content}
    elif behind is not None:
        (top / "gan").mkdir()
        about = {"made": {"real": str(behind.path)}, "real": behind.content}
        (top / "gan" / "generator.json").write_text(json.dumps(about), "utf-8")
        notes |= {"run": str(top / "gan"), "trained_on": behind.content}
    with StoreWriter(top / "made", real.canvas, real.alphabet, {}, notes) as writer:
        writer.append(np.full((1, 64, 64), 9, np.uint8), [Sample("A", "A", source)])
    return Store.open(top / "made")


@pytest.mark.parametrize("how", ["is", "is nearly"])
@pytest.mark.parametrize("of", ["val", "test"])
@pytest.mark.parametrize("source", ["gan", "font"])
def test_a_generator_that_learned_from_what_is_measured_trains_no_classifier(
    source: str, of: str, how: str, real: Store, tmp_path: Path
) -> None:
    """Though none of its images is like one of those; a font's pen is a generator too."""
    from classifier.config import PRESETS
    from classifier.train import train

    row = int(real.rows("val" if of == "val" else "train")[0])
    image, name = real.images[[row]], real.column("origin")[row]
    near = again(seed_of(real, row))
    behind = store_of(tmp_path / "behind", real, image if how == "is" else near, "real", "train")
    test = None
    if of == "test":
        unseen, near = again(99), again(99, 0.8)
        taken = unseen if how == "is" else near
        behind = store_of(tmp_path / "unseen", real, taken, "real", "train")
        test, name = store_of(tmp_path / "test", real, unseen, "real", "test"), "copy.png"
    made = generated_of(tmp_path, real, behind, source)
    words = rf"{name} \({of}\) {how} a training image of {behind.path}, which .*made learned from"
    with pytest.raises(InputError, match=words):
        train(real, [made], tmp_path / "out", PRESETS["demo"], 1, {}, test)
    assert not (tmp_path / "out").exists()


def test_what_a_generator_learned_from_is_looked_up_only_where_it_is_another_store(
    real: Store, tmp_path: Path
) -> None:
    val, train = int(real.rows("val")[0]), int(real.rows("train")[0])
    # it learned nothing from its own validation images, and blanks are all alike
    with StoreWriter(tmp_path / "behind", real.canvas, real.alphabet, {}) as writer:
        images = np.concatenate([real.images[[val, train]], np.zeros((1, 64, 64), np.uint8)])
        splits = ("val", "train", "train")
        writer.append(images, [Sample("A", "A", "real", split) for split in splits])
    behind = Store.open(tmp_path / "behind")
    blank = store_of(tmp_path / "test", real, np.zeros((1, 64, 64), np.uint8), "real", "test")
    made = generated_of(tmp_path, real, behind)
    refuse_leaks(real, [made], blank)
    shutil.rmtree(behind.path)
    with pytest.raises(InputError, match=r"behind: gone \(no store\.json in it"):
        refuse_leaks(real, [made], None)
    # of the training images of `real` itself: the run and the store may lie anywhere by now
    shutil.rmtree(tmp_path / "made")
    own = generated_of(tmp_path, real, None, run="gone", trained_on=real.content)
    refuse_leaks(real, [own], blank)
    shutil.rmtree(tmp_path / "made")
    unknown = generated_of(tmp_path, real, None)
    with pytest.raises(InputError, match=r"made: 1 generated images, .* does not say what"):
        refuse_leaks(real, [unknown], None)


def change_a_pixel(store: Store, row: int) -> None:
    images = np.lib.format.open_memmap(store.path / "images.npy", mode="r+")
    images[row, 0, 0] ^= 1
    images.flush()


def test_a_classifier_run_does_not_go_on_with_other_pixels(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from classifier import train as runs
    from classifier.config import PRESETS

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", killed)
    out = tmp_path / "out"
    arguments = (real, [], out, PRESETS["demo"], 1, {})
    with pytest.raises(KeyboardInterrupt):
        runs.train(*arguments)
    row = int(real.rows("train")[2])
    change_a_pixel(real, row)
    with pytest.raises(InputError, match=r"images\.npy: changed since the store was opened"):
        runs.train(*arguments)
    arguments = (Store.open(real.path), *arguments[1:])
    with pytest.raises(InputError, match=rf"image {row} \(.*\) is not the one that was written"):
        runs.train(*arguments)


def test_a_gan_run_does_not_go_on_with_other_pixels(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan import train as runs

    class Room:
        alphabet = real.alphabet
        coverages: tuple = ()

    monkeypatch.setattr(runs.Studio, "prepare", lambda *_, **__: Room)
    (tmp_path / "out").mkdir()
    change_a_pixel(real, 4)
    with pytest.raises(InputError, match=r"image 4 .* is not the one that was written"):
        runs.train(Store.open(real.path), tmp_path / "out", runs.preset("demo")[1], [], 1, {})


def test_a_font_store_whose_data_is_gone_is_trained_on(real: Store, tmp_path: Path) -> None:
    """Some numbers were measured on it; an audit says that it is gone."""
    behind = store_of(tmp_path / "behind", real, real.images[:1], "real", "train")
    made = generated_of(tmp_path, real, behind, "font")
    shutil.rmtree(behind.path)
    refuse_leaks(real, [made], None)
