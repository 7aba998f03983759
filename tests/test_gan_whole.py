"""`gan.train.train` from a store to a finished run, smallest: odd classes, resumed, damaged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupting import Stop, stop_gan_after
from safetensors.torch import save_file
from tiny_gan import CONFIG, few_fonts, real_store

import gan.train
import synth.studio
from gan.networks import Generator, Recogniser
from gan.recogniser import Trained
from gan.run import GanRun
from gan.train import real_of_known, train
from synth.errors import InputError
from synth.fonts import FontFile
from synth.store import Store
from synth.style import Style

pytestmark = pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")
TINY = replace(
    CONFIG, steps=4, grid_every=4, recogniser_steps=12, recogniser_batch=16, style="image"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Store:
    """Many images of a class, one of another, none of a third."""
    return real_store(tmp_path_factory.mktemp("real") / "real", "一國永", {"國": 9, "永": 1})


@pytest.fixture(scope="module")
def whole(real, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    with few_fonts():
        train(real, out, TINY, [], 1, {})
    return out


@pytest.fixture(scope="module")
def broken(real, tmp_path_factory) -> Path:
    """Stopped after the checkpoint of its second step."""
    out = tmp_path_factory.mktemp("broken") / "run"
    with few_fonts(), stop_gan_after(2):
        train(real, out, TINY, [], 1, {})
    return out


def same(one: Path, other: Path) -> bool:
    names = ("generator.safetensors", "generator.json", "recogniser.safetensors", "trusted.npy")
    names += ("styles.npy", "style_rows.npy")
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def test_a_class_with_one_image_or_none_is_drawn_too(whole, real):
    run = GanRun.open(whole)
    assert run.alphabet.chars == tuple("一國永") and run.drawable is None
    assert len(run.read_styles) == len(run.style_rows) == 10
    assert sorted(run.style_rows) == real.rows("train").tolist()
    assert (run.real, run.font_folders) == (real.content, ())
    rates = json.loads((whole / "rates.json").read_text())
    assert rates["images"] == 4 * 8 and rates["images_per_second"] > 0
    assert not list((whole / "checkpoints").glob("recogniser*"))


def test_resumed_with_its_recogniser_read_back_it_ends_as_unbroken(
    whole, broken, real, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    shutil.copytree(broken, run)
    monkeypatch.setattr(gan.train, "train_recogniser", None)  # it is not trained again
    with few_fonts():
        train(real, run, TINY, [], 1, {})
    assert "going on at step 2 of 4" in capsys.readouterr().out
    assert same(run, whole)


@pytest.mark.parametrize("name", ["recogniser.safetensors", "trusted.npy"])
def test_a_damaged_recogniser_is_said_and_trained_anew(name, whole, broken, real, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(broken, run)
    (run / name).write_bytes((run / name).read_bytes()[:-3])
    with few_fonts():
        train(real, run, TINY, [], 1, {})
    assert "its recogniser is damaged" in capsys.readouterr().out
    assert same(run, whole)


def test_a_kill_while_the_recogniser_trains_loses_little(
    whole, real, tmp_path, monkeypatch, capsys
):
    from gan import recogniser

    jitter, calls = recogniser.jitter, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 8:
            raise Stop
        return jitter(*arguments)

    monkeypatch.setattr(recogniser, "jitter", stop)
    run = tmp_path / "run"
    with few_fonts():
        with pytest.raises(Stop):
            train(real, run, TINY, [], 1, {})
        assert (run / "checkpoints" / "recogniser.ckpt").is_file()
        train(real, run, TINY, [], 1, {})
    assert "recogniser: going on at step 6 of 12" in capsys.readouterr().out
    assert same(run, whole) and not list((run / "checkpoints").glob("recogniser*"))


def test_a_font_replaced_under_its_name_is_not_mixed_in(real, tmp_path, monkeypatch):
    with few_fonts(), monkeypatch.context() as own_fonts:
        files = synth.studio.find_fonts([])
        mine = [FontFile(tmp_path / font.path.name) for font in files]
        for font, own in zip(files, mine, strict=True):
            shutil.copy(font.path, own.path)
        own_fonts.setattr(synth.studio, "find_fonts", lambda folders: mine)
        with stop_gan_after(1):
            train(real, tmp_path / "run", TINY, [], 1, {})
        good = mine[0].path.read_bytes()
        mine[0].path.write_bytes(good + b"\0")  # another file, which draws the same
        with pytest.raises(
            InputError, match=rf"other settings \(font {mine[0].name}: \w+ -> \w+\)"
        ):
            train(real, tmp_path / "run", TINY, [], 1, {})


def test_folders_of_fonts_are_kept(tmp_path, monkeypatch):
    """As absolute names: a run may be used from elsewhere."""
    monkeypatch.chdir(tmp_path)
    real = real_store(Path("real"), "一國", {"國": 4, "一": 4})
    with few_fonts():
        run, _ = train(real, Path("run"), replace(TINY, steps=1), [Path("more")], 1, {})
    assert run.font_folders == (tmp_path / "more",)


def test_a_run_of_noise_keeps_no_styles(tmp_path):
    real = real_store(tmp_path / "real", "一國", {"國": 4, "一": 4})
    with few_fonts():
        train(real, tmp_path / "run", replace(TINY, steps=1, style="noise"), [], 1, {})
    assert not list((tmp_path / "run").glob("style*"))
    run = GanRun.open(tmp_path / "run")
    assert run.style_images(np.arange(3), 1) is None


DOUBTED = [1, 4, 8]  # of the ten training images


@pytest.fixture
def taught(monkeypatch) -> dict:
    """What `fit` is given, in runs that train nothing: the recogniser doubts three labels, the
    generator stays as it starts."""
    given = {}

    def recogniser(*, real, classes, **_):
        probability = np.full(len(real), 0.9, np.float32)
        probability[DOUBTED] = 0.01
        return Trained(Recogniser(classes).eval(), probability)

    def fit(out, config, images, classes, content, reference, *_):
        given.update(images=images, classes=classes, content=content, reference=reference)
        generator = Generator(config, images.shape[1], len(content.chars))
        save_file(generator.state_dict(), out / "generator.safetensors")
        np.save(out / "styles.npy", np.zeros((len(images), 2, config.style_dim), np.float32))

    monkeypatch.setattr(gan.train, "train_recogniser", recogniser)
    monkeypatch.setattr(gan.train, "fit", fit)
    return given


def test_the_generator_learns_from_no_image_whose_label_is_doubted(real, tmp_path, taught, capsys):
    with few_fonts():
        run, studio = train(real, tmp_path / "run", TINY, [], 1, {})
    assert "trusts 7 of 10 real labels" in capsys.readouterr().out
    images, classes, rows = real_of_known(real, studio)
    trusted = np.delete(np.arange(10), DOUBTED)
    assert len(images) == 10 and len(np.unique(images, axis=0)) == 10
    assert np.array_equal(taught["images"], images[trusted])
    assert np.array_equal(taught["classes"], classes[trusted])
    assert run.style_rows.tolist() == rows[trusted].tolist()  # nor are styles read off them


def test_a_font_that_is_left_out_draws_no_glyph(real, tmp_path, taught):
    out, left_out = tmp_path / "run", (1, False, ["tw-kai"], 0.5)
    with few_fonts():
        run, studio = train(real, out, TINY, [], 1, {}, *left_out)
        assert [c.font.name for c in studio.coverages] == ["klee-one", "zen-kurenaido"]
        assert run.without == ("tw-kai",) and run.style.bend_em == Style().bend_em / 2
        for glyphs in (taught["content"], taught["reference"]):
            assert set(glyphs.font.tolist()) == {0, 1}
        # other fonts or another strength are other settings
        with pytest.raises(InputError, match=r"other settings \(fonts: \[[^\]]*\] -> .*'tw-kai'"):
            train(real, out, TINY, [], 1, {}, 1, False, [], 0.5)
        with pytest.raises(InputError, match=r"other settings \(strength: 0.5 -> 1.0\)"):
            train(real, out, TINY, [], 1, {}, 1, False, ["tw-kai"])
        with pytest.raises(InputError, match="--without gone: no font of that name"):
            train(real, tmp_path / "new", TINY, [], 1, {}, 1, False, ["gone"])
    assert not (tmp_path / "new").exists()
