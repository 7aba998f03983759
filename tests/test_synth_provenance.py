"""Validation and test images reach no generator, by no door, and an audit says what was used."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from conftest import ROOT, write_images
from PIL import Image

import synth.fit
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.decode import PAPER, decode
from synth.errors import InputError
from synth.export import export_store
from synth.fit import fit_style
from synth.fonts import ASSETS, FontFile, check_fonts, find_fonts
from synth.lineage import refuse_weights, trained_on
from synth.provenance import font_licences, learned_from, licences_of, origins, refuse_trained
from synth.quota import Quota, real_counts
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio, quota_of
from synth.style import Style
from synth.thin import thin_store

CHARS = "ABC"


def written(
    path: Path,
    images: np.ndarray,
    split: list[str],
    source: str = "real",
    labels: str = "",  # a character an image; "": A, B, C, A ...
) -> Store:
    with StoreWriter(path, Canvas(), Alphabet.of(CHARS), {"images": "data"}) as writer:
        shown = labels or (CHARS * len(split))[: len(split)]
        rows = [
            Sample(c, c, source, s, origin=f"{i}.png")
            for i, (c, s) in enumerate(zip(shown, split, strict=True))
        ]
        writer.append(images, rows)
    return Store.open(path)


@pytest.fixture
def real(tmp_path: Path) -> Store:
    counts = dict.fromkeys(CHARS, 20)
    return import_images(
        write_images(tmp_path / "images", counts), tmp_path / "real", None, Canvas(), val_share=0.3
    )


@pytest.mark.filterwarnings("ignore")  # of what torch and Lightning deprecate
def test_every_door_to_a_generator_sees_the_training_split_alone(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores that differ in their validation and test images alone, or in the labels of these, give
    the same of all that rendering and the GAN measure, count, learn from and remember."""
    from gan.memorised import Neighbours
    from gan.train import real_of_known

    split = ["val" if i % 3 == 1 else "test" if i % 7 == 0 else "train" for i in range(len(real))]
    images = np.asarray(real.images)
    hidden = np.array(split) != "train"
    poisoned = images.copy()
    poisoned[hidden] = 255 - poisoned[hidden]
    one = written(tmp_path / "one", images, split)
    two = written(tmp_path / "two", poisoned, split)
    # as if all of validation and test showed C
    named = "".join("C" if h else CHARS[i % 3] for i, h in enumerate(hidden))
    labelled = written(tmp_path / "labelled", images, split, labels=named)
    fonts = check_fonts([FontFile(ROOT / "assets" / "fonts" / "caveat.woff")], list(CHARS))

    monkeypatch.setattr(synth.fit, "ROUNDS", 1)

    class Room:  # what `real_of_known` asks of a studio
        alphabet = one.alphabet

    def quota(store: Store) -> Quota:
        return quota_of(store.alphabet, store)

    def kept(store: Store) -> dict[str, np.ndarray]:
        Neighbours.of_store(store).save(tmp_path / f"{store.path.name}.npz")
        with np.load(tmp_path / f"{store.path.name}.npz") as file:
            return dict(file)

    style = fit_style(Style(), one, fonts, 1)
    for store in (two, labelled):
        assert fit_style(Style(), store, fonts, 1) == style
        assert real_counts(store) == real_counts(one) and quota(store) == quota(one)
        for a, b in zip(real_of_known(one, Room), real_of_known(store, Room), strict=True):
            assert np.array_equal(a, b)
        of_one, of_store = kept(one), kept(store)
        assert of_one.keys() == of_store.keys()
        assert all(np.array_equal(of_one[k], of_store[k]) for k in of_one)
    # and it is no accident: the same change in one training image is seen
    poisoned[np.flatnonzero(~hidden)[:10]] ^= 255
    three = written(tmp_path / "three", poisoned, split)
    assert fit_style(Style(), three, fonts, 1) != style
    assert not np.array_equal(real_of_known(one, Room)[0], real_of_known(three, Room)[0])
    changed = "".join("C" if i < 30 else c for i, c in enumerate(named))
    four = written(tmp_path / "four", images, split, labels=changed)
    assert real_counts(four) != real_counts(one) and quota(four) != quota(one)


def test_a_store_for_testing_trains_no_gan(real: Store, tmp_path: Path) -> None:
    from gan.train import real_of_known

    test = written(tmp_path / "test", np.asarray(real.images), ["test"] * len(real))

    class Room:
        alphabet = test.alphabet

    with pytest.raises(InputError, match="no training image"):
        real_of_known(test, Room)
    style = Style()
    assert fit_style(style, test, [], 1) == style


def test_copies_are_refused_by_name_others_are_not(real: Store, tmp_path: Path) -> None:
    train, val = real.rows("train"), real.rows("val")
    refuse_trained(real, val, real)
    copy = np.asarray(real.images[[*val[:3], train[0]]])
    test = written(tmp_path / "test", copy, ["test"] * 4)
    with pytest.raises(InputError, match=r"3\.png \(test\) is a training image of .*real"):
        refuse_trained(test, np.arange(4), real)
    buffer = io.BytesIO()
    Image.fromarray(PAPER - copy[3]).save(buffer, "JPEG", quality=85)
    copy[3] = decode(buffer.getvalue(), real.canvas)
    nearly = written(tmp_path / "nearly", copy, ["test"] * 4)
    with pytest.raises(InputError, match=r"3\.png \(test\) is nearly a training image"):
        refuse_trained(nearly, np.arange(4), real)
    refuse_trained(nearly, np.arange(3), real)


def test_no_more_images_are_in_memory_at_once_than_stated(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.asarray(real.images[:11]).copy()
    images[4] = 0  # blanks are all alike: of no account
    test = written(tmp_path / "test", images, ["test"] * 11)
    blank = written(tmp_path / "blank", np.zeros((1, 64, 64), np.uint8), ["train"])
    taken: list[int] = []
    take = Store.take

    def counted(store: Store, rows: np.ndarray) -> np.ndarray:
        taken.append(len(rows))
        return take(store, rows)

    monkeypatch.setattr("synth.provenance._READ_IMAGES", 4)
    monkeypatch.setattr("synth.provenance.copies", lambda asked, known: {})
    monkeypatch.setattr(Store, "take", counted)
    refuse_trained(test, np.arange(11), blank)
    refuse_trained(test, np.arange(0), blank)
    assert taken == [4, 4, 3]
    with pytest.raises(InputError, match=r"10\.png \(test\) is a training image"):
        refuse_trained(test, np.array([4, 10]), real)


def test_places_and_licences(real: Store, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "font", Canvas(), Alphabet.of(CHARS), {}) as writer:
        rows = [Sample("A", "A", "font", origin="caveat:A")] * 3
        rows += [Sample("B", "B", "gan", origin="gan/generator.safetensors:tw-kai:B")] * 2
        rows += [Sample("C", "C", "font", origin="my-own:C")]
        writer.append(np.full((6, 64, 64), 9, np.uint8), rows)
    told = {
        (o.source, o.place): (o.licence, o.images) for o in origins(Store.open(tmp_path / "font"))
    }
    assert told == {
        ("font", "caveat"): ("OFL-1.1", 3),
        ("gan", "tw-kai"): ("OGDL-Taiwan-1.0", 2),
        ("font", "my-own"): ("not stated", 1),
    }
    (data,) = origins(real)
    assert data.source == "real" and data.place.endswith("images") and data.images == len(real)
    assert all(font_licences().values())


def write_run(
    path: Path,
    stores: list[Store],
    contents: list[str] | None = None,
    pretrained: str | None = None,
) -> list[dict]:
    """What an audit reads of a run. Returns its sources."""
    path.mkdir(exist_ok=True)
    sources = [{"store": str(s.path), "made": s.info["made"]} for s in stores]
    (path / "model.json").write_text(json.dumps({"info": {"sources": sources}}), "utf-8")
    start = {"stores": contents or [s.content for s in stores]}
    settings = {"classifier": {"pretrained": pretrained}, "start": start}
    (path / "config.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return sources


@pytest.fixture
def audited(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Calls the audit of the run with more options. -> exit code, and all that it said."""
    script = load_script("audit")

    def audit(*more: str) -> tuple[int, str]:
        code = run(script.options(), script.main, ["--model", str(tmp_path / "run"), *more])
        told = capsys.readouterr()
        return code, told.out + told.err

    return audit


def test_the_audit(real: Store, tmp_path: Path, audited: Callable[..., tuple[int, str]]) -> None:
    with StoreWriter(tmp_path / "font", Canvas(), real.alphabet, {"seed": 1}) as writer:
        rows = [
            Sample("A", "A", "font", origin="my-own:A"),
            Sample("A", "A", "font", origin="caveat:A"),
        ]
        writer.append(np.full((2, 64, 64), 9, np.uint8), rows)
    run_ = tmp_path / "run"
    stores = [real, Store.open(tmp_path / "font")]
    sources = write_run(run_, stores)
    code, told = audited()
    assert code == 2 and "no licence is known of my-own;" in told
    code, told = audited("--allow", "my-own")
    assert code == 0 and "font  caveat: OFL-1.1" in told and "no validation or test" in told
    copy = np.asarray(real.images[real.rows("train")[:3]])
    written(tmp_path / "test", copy, ["test"] * 3)
    code, told = audited("--allow", "my-own", "--test", str(tmp_path / "test"))
    assert code == 2 and "0.png (test) is a training image" in told
    held = real.content
    write_run(run_, stores, [held, "0" * 12])
    code, told = audited("--allow", "my-own")
    assert code == 2 and "font: holds other images than" in told
    write_run(run_, stores)
    sources[0]["made"] = {"seed": 99}
    (run_ / "model.json").write_text(json.dumps({"info": {"sources": sources}}), "utf-8")
    code, told = audited("--allow", "my-own")
    assert code == 2 and "made again" in told


def test_an_audit_follows_weights_to_the_runs_they_came_from(
    real: Store, tmp_path: Path, audited: Callable[..., tuple[int, str]]
) -> None:
    write_run(tmp_path / "run", [real], pretrained="library")
    code, told = audited()
    assert code == 0 and "nothing says" not in told
    other = written(
        tmp_path / "other", np.asarray(real.images[real.rows("train")[:3]]), ["train"] * 3
    )
    write_run(tmp_path / "middle", [other])
    write_run(tmp_path / "run", [real], pretrained=str(tmp_path / "middle" / "model.safetensors"))
    code, told = audited()
    assert code == 0 and f"{other.path}: 3 images, of the run that the weights came from" in told
    # what the first of three runs learned from is measured on by the last
    held = np.asarray(real.images[real.rows("val")[:1]])
    first = written(tmp_path / "first", held, ["train"])
    write_run(tmp_path / "first-run", [first])
    write_run(tmp_path / "middle", [other], pretrained=str(tmp_path / "first-run"))
    code, told = audited()
    assert code == 2 and f"is a training image of {first.path}" in told
    write_run(tmp_path / "run", [real], pretrained="weights.pt")
    code, told = audited()
    assert code == 0 and "nothing says what the weights in weights.pt learned from" in told


def test_weights_that_learned_from_what_is_measured_on_are_refused(
    real: Store, tmp_path: Path
) -> None:
    """By the run's folder or its weights, from the run itself, one before it, or its generator."""
    test = written(tmp_path / "test", np.asarray(real.images[real.rows("train")[:2]]), ["test"] * 2)
    held = np.asarray(real.images[real.rows("val")[:1]])
    first = written(tmp_path / "first", held, ["train"])
    write_run(tmp_path / "run", [real])
    assert refuse_weights(str(tmp_path / "run"), real, None) == ""
    with pytest.raises(InputError, match=r"0.png \(test\) is a training image of .*run learned"):
        refuse_weights(str(tmp_path / "run" / "model.safetensors"), real, test)
    write_run(tmp_path / "first-run", [first])
    write_run(tmp_path / "run", [real], pretrained=str(tmp_path / "first-run"))
    with pytest.raises(InputError, match=rf"\(val\) is a training image of {first.path}"):
        refuse_weights(str(tmp_path / "run"), real, None)
    with StoreWriter(tmp_path / "gan", Canvas(), real.alphabet, {}, {"real": str(first.path)}) as w:
        w.append(np.full((1, 64, 64), 9, np.uint8), [Sample("A", "A", "gan")])
    write_run(tmp_path / "run", [real, Store.open(tmp_path / "gan")])
    with pytest.raises(InputError, match=rf"\(val\) is a training image of {first.path}"):
        refuse_weights(str(tmp_path / "run"), real, None)


def test_weights_of_which_nothing_is_known_are_told(real: Store, tmp_path: Path) -> None:
    assert refuse_weights("library", real, None) == ""
    assert "nothing says" in refuse_weights(str(tmp_path / "weights.pt"), real, None)
    write_run(tmp_path / "run", [real], pretrained="weights.pt")
    assert refuse_weights(str(tmp_path / "run"), real, None).endswith("weights.pt learned from")
    shutil.rmtree(real.path)
    assert "gone" in refuse_weights(str(tmp_path / "run"), real, None)


def test_an_audit_says_when_pixels_changed_under_their_hashes(
    real: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(tmp_path / "run", [real])
    origin = real.column("origin")[5]
    images = np.lib.format.open_memmap(real.path / "images.npy", mode="r+")
    images[5] ^= 1
    images.flush()
    script = load_script("audit")
    assert run(script.options(), script.main, ["--model", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert f"image 5 ({origin}) is not the one that was written" in told


@pytest.fixture
def generated(real: Store, tmp_path: Path) -> Store:
    """Images of a GAN that was trained on another real store than the classifier's."""
    write_images(tmp_path / "more", dict.fromkeys(CHARS, 6), first_seed=500)
    behind = import_images(
        tmp_path / "more", tmp_path / "behind", None, Canvas(), val_share=0, licence="CC-BY-4.0"
    )
    gan = tmp_path / "gan"
    gan.mkdir()
    about = {"made": {"real": "behind"}, "real": behind.content}
    (gan / "generator.json").write_text(json.dumps(about), "utf-8")
    notes = {"run": "gan", "licences": {"tw-kai": "OGDL-Taiwan-1.0"}}
    with StoreWriter(tmp_path / "made", Canvas(), real.alphabet, {"seed": 1}, notes) as writer:
        row = Sample("A", "A", "gan", origin="gan/generator.safetensors:tw-kai:A")
        writer.append(np.full((1, 64, 64), 9, np.uint8), [row])
    return Store.open(tmp_path / "made")


def test_generated_images_are_followed_to_what_their_generator_learned_from(
    real: Store, generated: Store, tmp_path: Path, audited: Callable[..., tuple[int, str]]
) -> None:
    """By names from the working folder of the trainings, which lies above the stores."""
    write_run(tmp_path / "run", [real, generated])
    code, told = audited()
    assert code == 0, told
    assert "behind: 18 images, which" in told and "made learned from" in told
    assert f"{tmp_path / 'more'}: CC-BY-4.0" in told
    behind = learned_from(generated)
    copy = np.asarray(behind.images[:1])
    written(tmp_path / "test", copy, ["test"])
    code, told = audited("--test", str(tmp_path / "test"))
    assert code == 2 and "0.png (test) is a training image of" in told and "behind" in told
    about = {"made": {"real": "behind"}, "real": "0" * 12}
    (tmp_path / "gan" / "generator.json").write_text(json.dumps(about), "utf-8")
    code, told = audited()
    assert code == 2 and "behind: not what" in told
    (tmp_path / "gan" / "generator.json").unlink()
    code, told = audited()
    assert code == 2 and "gan: gone (no generator.json in it" in told


def test_generated_images_of_which_nothing_is_known_are_refused(
    real: Store, generated: Store, tmp_path: Path, audited: Callable[..., tuple[int, str]]
) -> None:
    """And none of those that come back from an export: the notes come with them."""
    path = export_store(generated, "webdataset", tmp_path / "made.tar").path
    again = import_images(path, tmp_path / "again", None, Canvas(), as_is=True)
    assert again.content == generated.content and again.alphabet == generated.alphabet
    assert learned_from(again).path.name == "behind"
    write_run(tmp_path / "run", [real, again])
    code, told = audited()
    assert code == 0 and "behind: 18 images, which" in told
    with StoreWriter(tmp_path / "bare", Canvas(), real.alphabet, {}) as writer:
        writer.append(np.asarray(generated.images), [Sample("A", "A", "gan", origin="g:tw-kai:A")])
    bare = Store.open(tmp_path / "bare")
    for stores in ([real, bare], [bare, real]):
        write_run(tmp_path / "run", stores)
        code, told = audited()
        assert code == 2 and "bare: 1 generated images, and its store.json does not say" in told
        assert "no validation or test image" not in told


def test_a_run_that_was_trained_anew_is_not_taken_for_the_one_that_generated(
    real: Store, generated: Store, tmp_path: Path
) -> None:
    """By the digest of its generator, and by the content of the store that it was trained on."""
    gan, behind = tmp_path / "gan", Store.open(tmp_path / "behind")
    (gan / "generator.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:12]

    def with_notes(name: str, **more: str) -> Store:
        rows = [Sample("A", "A", "gan")]
        notes = {"run": "gan", **more}
        with StoreWriter(tmp_path / name, Canvas(), real.alphabet, {}, notes) as writer:
            writer.append(np.full((1, 64, 64), 9, np.uint8), rows)
        return Store.open(tmp_path / name)

    one = with_notes("one", generator=digest, trained_on=behind.content)
    assert learned_from(one).path.name == "behind"
    for name, noted in (("two", {"generator": "0" * 12}), ("three", {"trained_on": "0" * 12})):
        with pytest.raises(InputError, match=rf"gan: trained anew since it generated .*{name}"):
            learned_from(with_notes(name, **noted))
    # what the run says of its training set today does not take the place of the store's note
    about = {"made": {"real": "behind"}, "real": "0" * 12}
    (gan / "generator.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(InputError, match="gan: trained anew"):
        learned_from(one)
    (gan / "generator.json").write_text(json.dumps({"made": {"real": "real"}}), "utf-8")
    with pytest.raises(InputError, match=r"real: not what .* learned from"):
        learned_from(one)


def test_the_place_whose_store_fits_is_found_behind_one_of_the_same_name(
    real: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the working folder the name leads to another store."""
    write_run(tmp_path / "run", [real])
    card = json.loads((tmp_path / "run" / "model.json").read_text("utf-8"))
    card["info"]["sources"][0]["store"] = "real"
    (tmp_path / "run" / "model.json").write_text(json.dumps(card), "utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    other = written(tmp_path / "here" / "real", np.full((1, 64, 64), 9, np.uint8), ["train"])
    (found,) = trained_on(tmp_path / "run")
    assert found.content == real.content != other.content
    rows = [Sample("A", "A", "font", origin="caveat:A")]
    notes = {"real": "real", "trained_on": real.content}
    with StoreWriter(tmp_path / "font", Canvas(), real.alphabet, {}, notes) as writer:
        writer.append(np.full((1, 64, 64), 9, np.uint8), rows)
    assert learned_from(Store.open(tmp_path / "font")).content == real.content
    with pytest.raises(InputError, match="real: holds other images than"):
        write_run(tmp_path / "run", [real], ["0" * 12])
        trained_on(tmp_path / "run")


def test_a_font_store_and_a_thinned_one_say_what_they_learned_from(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the notes: what the thinned one was made with is another real store."""
    few = [f for f in find_fonts() if f.name in ("klee-one", "caveat")]
    monkeypatch.setattr("synth.studio.find_fonts", lambda folders: few)
    monkeypatch.setattr("synth.studio.MAX_CANDIDATES", 50)
    made = Studio.prepare(real.alphabet, real, per_class=2, other_images=0, style=Style())
    font = made.render_to(tmp_path / "font", 1, {})
    counted = written(tmp_path / "counted", np.full((1, 64, 64), 9, np.uint8), ["train"])
    thin = thin_store(font, tmp_path / "thin", {"real": str(counted.path)}, 3, False)
    for store in (font, thin):
        assert learned_from(store).content == real.content
    images, split = np.asarray(real.images), real.column("split").tolist()
    shutil.rmtree(real.path)
    written(real.path, images[::-1], split)
    for store in (font, thin):
        with pytest.raises(InputError, match=r"real: not what .* learned from"):
            learned_from(store)


def test_licences_are_those_of_the_time_when_images_were_made(
    real: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = FontFile(tmp_path / "caveat-mine.ttf")
    noted = licences_of([FontFile(ASSETS / "caveat.woff"), own])
    assert noted == {"caveat": "OFL-1.1", "caveat-mine": "not stated"}
    rows = [Sample("A", "A", "font", origin=f"{name}:A") for name in noted]
    notes = {"licences": noted}
    with StoreWriter(tmp_path / "font", Canvas(), Alphabet.of(CHARS), {}, notes) as writer:
        writer.append(np.full((2, 64, 64), 9, np.uint8), rows)
    today = {"caveat": "another licence", "caveat-mine": "another licence"}
    monkeypatch.setattr("synth.provenance.font_licences", lambda: today)
    told = {o.place: o.licence for o in origins(Store.open(tmp_path / "font"))}
    assert told == noted


def test_the_licence_of_real_images_is_what_the_import_was_told(
    tmp_path: Path, load_script: Callable[[str], ModuleType]
) -> None:
    images = write_images(tmp_path / "images", {"A": 4, "B": 4})
    script = load_script("import_data")
    words = [str(images), "--out", str(tmp_path / "s"), "--workers", "1", "--licence", "CC0-1.0"]
    assert run(script.options(), script.main, words) == 0
    (origin,) = origins(Store.open(tmp_path / "s"))
    assert origin.licence == "CC0-1.0"
