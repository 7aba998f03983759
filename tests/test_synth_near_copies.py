"""Copies that are no equals are found, other images are not; they are left out, or refused."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from conftest import draw_strokes, write_images
from PIL import Image, ImageDraw

from synth import near_copies
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.decode import decode
from synth.errors import InputError
from synth.fit import fit_style
from synth.fonts import find_fonts
from synth.near_copies import (
    Pictures,
    apart_note,
    copies,
    distances,
    refuse_copies,
    told_copies,
)
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio
from synth.style import Style
from synth.thin import thin_store

CANVAS = Canvas()


def saved(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def moved(image: Image.Image, x: int, y: int) -> Image.Image:
    """By so many pixels to the right and down, what goes over the edge is lost."""
    out = Image.new("L", image.size, 255)
    out.paste(image, (x, y))
    return out


def rescaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BILINEAR)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 75": lambda image: saved(image, "JPEG", quality=75),
    "JPEG 40": lambda image: saved(image, "JPEG", quality=40),
    "WebP": lambda image: saved(image, "WEBP", quality=60),
    "moved": lambda image: saved(moved(image, 1, -1)),
    "smaller": lambda image: saved(rescaled(image, 0.6)),
    "larger": lambda image: saved(rescaled(image, 1.7)),
    "lighter": lambda image: saved(image.point(lambda tone: min(255, tone + 50))),
    "paler ink": lambda image: saved(image.point(lambda tone: 255 - (255 - tone) * 6 // 10)),
    "all": lambda image: saved(
        moved(rescaled(image.point(lambda tone: min(255, tone + 25)), 0.9), 1, 0),
        "JPEG",
        quality=75,
    ),
}


def by_one_hand(strokes: np.ndarray, seed: int, size_px: int = 96) -> Image.Image:
    """One character, [n, 4] ends of its strokes on a paper of 1 x 1, written once more: each end
    lies elsewhere by 3 % of the paper (standard deviation)."""
    ends = strokes + np.random.default_rng(seed).normal(0, 0.03, strokes.shape)
    image = Image.new("L", (size_px, size_px), 255)
    pen = ImageDraw.Draw(image)
    for line in ends:
        pen.line((line * size_px).tolist(), fill=20, width=5)
    return image


def pictures(images: list[Image.Image]) -> np.ndarray:
    return np.stack([decode(saved(image), CANVAS) for image in images])


def all_of(images: np.ndarray) -> Pictures:
    return Pictures(images, np.arange(len(images)))


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    return pictures([draw_strokes(seed) for seed in range(40)])


# ---- what is a copy ----


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_and_its_original_named(how: str, drawings: np.ndarray) -> None:
    again = np.stack([decode(COPIES[how](draw_strokes(seed)), CANVAS) for seed in range(40)])
    found = copies(all_of(drawings), all_of(again))
    assert len(found) >= 38
    assert all(copy == original for copy, original in found.items())


def test_drawings_are_no_copies_of_one_another(drawings: np.ndarray) -> None:
    others = pictures([draw_strokes(seed) for seed in range(100, 300)])
    assert copies(all_of(drawings), all_of(others)) == {}


def test_one_character_twice_by_one_hand_is_no_copy() -> None:
    """Of 8 characters 40 samples each."""
    for char in range(8):
        strokes = np.random.default_rng(char).uniform(0.1, 0.9, (5, 4))
        written = pictures([by_one_hand(strokes, 1000 * char + i) for i in range(40)])
        assert copies(all_of(written[:20]), all_of(written[20:])) == {}


def test_equal_images_are_copies_and_blank_ones_are_not(drawings: np.ndarray) -> None:
    blank = np.zeros((2, 64, 64), np.uint8)
    flat = np.full((2, 64, 64), 9, np.uint8)
    images = np.concatenate([drawings[:3], blank, flat])
    found = copies(all_of(images), all_of(images[[2, 3, 5, 0]]))
    assert found == {0: 2, 3: 0}
    assert copies(all_of(images[:0]), all_of(images)) == {}
    assert copies(all_of(images), all_of(images[:0])) == {}


def test_the_distance_is_what_no_small_move_explains(drawings: np.ndarray) -> None:
    """Against a solver of least squares, pair by pair."""
    a, b = drawings[:20], drawings[1:21]
    got = distances(a, b)
    cells = near_copies._CELLS
    at = np.linspace(-1, 1, cells)
    for i in range(20):
        one, two = (
            near_copies._unit(near_copies._shrunk(x[i : i + 1], cells))[0].astype(float)
            for x in (a, b)
        )
        down, right = np.gradient(one.reshape(cells, cells))
        tangents = [down, right, down * at[:, None], right * at]
        matrix = np.stack([t.ravel() for t in tangents], 1)
        step, *_ = np.linalg.lstsq(matrix, one - two, rcond=None)
        wanted = np.linalg.norm(one - two - matrix @ step)
        assert got[i] == pytest.approx(wanted, abs=2e-3)
        assert got[i] <= np.linalg.norm(one - two) + 1e-4
    assert distances(a, a).max() < 1e-3


def test_images_of_two_sizes_are_compared() -> None:
    small = np.stack([decode(saved(draw_strokes(i)), Canvas(48, 4)) for i in range(20)])
    large = np.stack([decode(saved(draw_strokes(i)), Canvas(96, 8)) for i in range(20)])
    found = copies(all_of(small), all_of(large))
    assert len(found) >= 19 and all(a == b for a, b in found.items())


# ---- how they are looked for ----


def test_blocks_change_nothing(drawings: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair by hand, against blocks of a few images."""
    many = [
        decode(saved(draw_strokes(5), "JPEG", quality=quality), CANVAS)
        for quality in range(40, 100, 5)
    ]
    known = np.concatenate([drawings[20:], np.stack(many), drawings[:3]])
    wanted = {
        k
        for k in range(len(known))
        if (distances(drawings[:20], np.stack([known[k]] * 20)) <= near_copies.COPY_DISTANCE).any()
    }
    assert {20, 31, 32, 34} <= wanted
    assert set(copies(all_of(drawings[:20]), all_of(known))) == wanted
    for name, size in (("_ASKED", 3), ("_KNOWN", 5), ("_PAIRS", 4)):
        monkeypatch.setattr(near_copies, name, size)
    assert set(copies(all_of(drawings[:20]), all_of(known))) == wanted


def test_where_all_look_alike_none_is_a_copy_but_the_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """40 times one upright stroke: nobody could say which is whose. Of three they are copies."""
    rng = np.random.default_rng(0)
    strokes = np.zeros((40, 64, 64), np.uint8)
    strokes[:, 5:59, 30:34] = 255
    strokes -= (strokes // 255) * rng.integers(0, 120, strokes.shape, dtype=np.uint8)
    apart = distances(strokes[:1].repeat(39, 0), strokes[1:])
    assert (apart > near_copies.SAME_DISTANCE).all() and (apart < near_copies.COPY_DISTANCE).all()
    assert copies(all_of(strokes[:5]), all_of(strokes[5:])) == {}
    again = Pictures(strokes, np.array([7, 2, *range(10, 40)]))
    assert copies(all_of(strokes[:5]), again) == {2: 2}
    assert len(copies(all_of(strokes[:1]), Pictures(strokes, np.array([5, 6, 7])))) == 3


def test_a_shape_that_many_write_alike_is_no_copy() -> None:
    """120 times a 1 by other hands, some of them nearer to another than a copy often is."""
    rng = np.random.default_rng(0)
    ones = []
    for _ in range(120):
        image = Image.new("L", (96, 96), 255)
        lean, flag = rng.normal(0, 8), rng.normal(0, 4)
        strokes = [(48 + lean, 12, 48 - lean, 84), (48 + lean, 12, 30 + lean + flag, 30)]
        for line in strokes:
            ImageDraw.Draw(image).line(line, fill=20, width=int(rng.integers(5, 8)))
        ones.append(image)
    written = pictures(ones)
    apart = np.stack([distances(written[i : i + 1].repeat(60, 0), written[60:]) for i in range(60)])
    assert (apart <= near_copies.COPY_DISTANCE).any(1).sum() > 10
    assert (apart > near_copies.SAME_DISTANCE).all()
    assert len(copies(all_of(written[:60]), all_of(written[60:]))) <= 3


def test_without_those_found_nothing_is_a_copy(drawings: np.ndarray) -> None:
    """More copies than are compared at a time, by which one is in a crowd and then is not."""
    many = [
        decode(saved(draw_strokes(5), "JPEG", quality=quality), CANVAS)
        for quality in range(20, 100, 2)
    ]
    known = np.concatenate([np.stack(many), drawings[20:]])
    found = copies(all_of(drawings[:20]), all_of(known))
    rest = Pictures(known, np.setdiff1d(np.arange(len(known)), list(found)))
    assert found and copies(all_of(drawings[:20]), rest) == {}


def test_rows_are_those_of_the_arrays(drawings: np.ndarray) -> None:
    asked = Pictures(drawings, np.array([4, 9, 17]))
    assert copies(asked, Pictures(drawings, np.array([3, 9, 30, 17]))) == {9: 9, 17: 17}


def test_memory_is_bounded() -> None:
    """20,000 images that are all alike, where every pair is a candidate."""
    rng = np.random.default_rng(0)
    images = np.zeros((20_000, 16, 16), np.uint8)
    images[:, 4:12, 6:10] = 200
    images += rng.integers(0, 50, images.shape, dtype=np.uint8)
    tracemalloc.start()
    near_copies._candidates(
        Pictures(images, np.arange(2000)), Pictures(images, np.arange(2000, 20_000))
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 128 * 2**20


# ---- at import ----


@pytest.fixture
def with_copies(tmp_path: Path) -> Path:
    """20 drawings of each of three characters, and of every one a JPEG."""
    top = write_images(tmp_path / "images", dict.fromkeys("ABC", 20))
    for file in sorted(top.rglob("*.png")):
        data = COPIES["JPEG 75"](Image.open(file))
        file.with_suffix(".jpg").write_bytes(data)
    return top


def test_import_leaves_copies_out_of_training_and_names_both(
    with_copies: Path, tmp_path: Path
) -> None:
    store = import_images(with_copies, tmp_path / "store", None, CANVAS, val_share=0.2)
    rows = {row["origin"]: row for row in store.table.to_pylist()}
    listed = store.info["notes"]["near_copies"]
    assert len(listed) >= 15 and len(rows) == 120 - len(listed)
    for copy, original in listed.items():
        assert Path(copy).with_suffix("") == Path(original).with_suffix("")
        assert rows[original]["split"] == "val" and copy not in rows
    val = [Path(name) for name, row in rows.items() if row["split"] == "val"]
    assert len(val) == 24  # as many as wanted
    twins = [name.with_suffix({".png": ".jpg", ".jpg": ".png"}[name.suffix]) for name in val]
    assert sum(rows.get(str(t), {}).get("split") == "train" for t in twins) <= 2  # not seen
    refuse_copies(store)
    again = import_images(with_copies, tmp_path / "again", None, CANVAS, val_share=0.2)
    assert again.content == store.content


def test_an_export_keeps_its_splits_and_loses_copies_of_test_images(tmp_path: Path) -> None:
    from synth.export import export_store

    images = pictures([draw_strokes(i) for i in range(6)])
    images = np.concatenate([images, [decode(COPIES["JPEG 75"](draw_strokes(0)), CANVAS)]])
    splits = ["test", "train", "train", "val", "train", "train", "train"]
    with StoreWriter(tmp_path / "store", CANVAS, Alphabet.of("A"), {}) as writer:
        writer.append(
            images, [Sample("A", "A", "real", s, origin=f"{i}") for i, s in enumerate(splits)]
        )
    export_store(Store.open(tmp_path / "store"), "folder", tmp_path / "folder")
    back = import_images(tmp_path / "folder", tmp_path / "back", None, CANVAS, as_is=True)
    told = dict(zip(back.column("origin"), back.column("split"), strict=True))
    assert told == dict(zip("012345", splits[:6], strict=True))
    assert list(back.info["notes"]["near_copies"].items()) == [("A/0000006.png", "A/0000000.png")]


def test_images_of_another_store_are_left_out_by_name(with_copies: Path, tmp_path: Path) -> None:
    tested = write_images(tmp_path / "test", {"A": 5, "B": 3}, first_seed=2)
    test = import_images(tested, tmp_path / "tested", None, CANVAS, split="test")
    store = import_images(
        with_copies, tmp_path / "store", None, CANVAS, val_share=0, apart_from=[test]
    )
    left_out = store.info["notes"]["left_out"]
    equal = {f"A/00{i}.png" for i in range(2, 10)}
    assert equal <= set(left_out) and len(left_out) >= len(equal) + 6
    assert left_out["A/002.png"] == f"{test.path}: A/000.png"
    assert not set(left_out) & set(store.column("origin"))
    assert len(store) == 120 - len(left_out)
    assert told_copies(store, test) == ""
    with pytest.raises(InputError, match="holds only copies"):
        import_images(tested, tmp_path / "none", None, CANVAS, apart_from=[test])


# ---- at training ----


@pytest.fixture
def leaking(tmp_path: Path) -> Store:
    """A store made by other means, with a JPEG of a validation image in training."""
    images = pictures([draw_strokes(i) for i in range(12)])
    images = np.concatenate([images, [decode(COPIES["JPEG 75"](draw_strokes(4)), CANVAS)]])
    rows = [
        Sample("AB"[i % 2], "AB"[i % 2], "real", "val" if i == 4 else "train", origin=f"{i}.png")
        for i in range(13)
    ]
    with StoreWriter(tmp_path / "leaking", CANVAS, Alphabet.of("AB"), {"images": "set"}) as writer:
        writer.append(images, rows)
    return Store.open(tmp_path / "leaking")


def gan_training(real: Store, out: Path) -> None:
    from gan.train import preset, train

    train(real, out, preset("demo")[1], [], 1, {})


@pytest.mark.parametrize(
    "learn",
    [
        pytest.param(lambda real, out: Studio.prepare(real.alphabet, real), id="Studio.prepare"),
        pytest.param(gan_training, id="gan.train.train"),
    ],
)
def test_every_call_from_python_that_learns_refuses_it_by_name(
    learn: Callable[[Store, Path], object], leaking: Store, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"1 training images are .* 12.png of 4.png \(val\)"):
        learn(leaking, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_with_a_style_no_image_is_read_and_none_compared(
    leaking: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time in a run, for other numbers of images."""
    few = [font for font in find_fonts() if font.name in ("klee-one", "tw-kai")]
    monkeypatch.setattr("synth.studio.find_fonts", lambda folders: few)
    monkeypatch.setattr("synth.studio.MAX_CANDIDATES", 50)
    unread = replace(leaking, images=range(len(leaking)))
    made = Studio.prepare(leaking.alphabet, unread, (), 1, other_images=0, style=Style())
    assert made.style == Style() and len(made.plan) == 2


def test_a_studio_looks_for_copies_once(
    imported: Store, compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [font for font in find_fonts() if font.name in ("klee-one", "tw-kai")]
    monkeypatch.setattr("synth.studio.find_fonts", lambda folders: few)
    monkeypatch.setattr("synth.studio.MAX_CANDIDATES", 50)
    monkeypatch.setattr("synth.fit.ROUNDS", 1)
    real = replace(imported, info={**imported.info, "notes": {}})
    compared.clear()
    Studio.prepare(real.alphabet, real, (), 1, other_images=0)
    assert len(compared) == 1
    fit_style(Style(), real, [], 1)  # asked for alone it looks too
    assert len(compared) == 2


@pytest.mark.parametrize("name", ["render_fonts", "train_gan", "train_classifier"])
def test_every_command_that_learns_refuses_it_by_name(
    name: str,
    leaking: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_script(name)
    words = ["--real", str(leaking.path), "--out", str(tmp_path / "out")]
    assert run(script.options(), script.main, words) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "1 training images" in error and "12.png of 4.png (val)" in error
    assert "import set again" in error
    assert not (tmp_path / "out").exists()


def test_copies_of_a_test_store_are_told_and_the_way_out_works(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = write_images(tmp_path / "train", {"A": 12, "B": 12})
    test = tmp_path / "test"
    (test / "A").mkdir(parents=True)
    (test / "A" / "7.jpg").write_bytes(COPIES["JPEG 75"](draw_strokes(7)))
    tested = import_images(test, tmp_path / "tested", Alphabet.of("AB"), CANVAS, split="test")
    real = import_images(train, tmp_path / "real", None, CANVAS, val_share=0)
    told = told_copies(real, tested)
    assert "A/007.png of A/7.jpg" in told and f"--apart-from {tested.path}" in told
    script = load_script("import_data")
    words = [str(train), "--out", str(tmp_path / "apart"), "--apart-from", str(tested.path)]
    assert run(script.options(), script.main, [*words, "--workers", "1"]) == 0
    assert "1 copies of images of --apart-from" in capsys.readouterr().out
    assert told_copies(Store.open(tmp_path / "apart"), tested) == ""


# ---- what an import notes ----


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every comparison of two sets of images."""
    calls: list[int] = []

    def counted(asked: Pictures, known: Pictures) -> dict[int, int]:
        calls.append(len(known))
        return copies(asked, known)

    monkeypatch.setattr(near_copies, "copies", counted)
    return calls


@pytest.fixture
def imported(tmp_path: Path) -> Store:
    """Drawings of two characters, those of A validation images, with the note."""
    top = write_images(tmp_path / "images", {"A": 10, "B": 10})
    return import_images(top, tmp_path / "imported", None, CANVAS, val_share=0.5)


def written(path: Path, store: Store, images: np.ndarray, rows: list[Sample]) -> Store:
    """Other images and rows under the notes of a store."""
    with StoreWriter(path, CANVAS, store.alphabet, {"images": "set"}, store.info["notes"]) as out:
        out.append(images, rows)
    return Store.open(path)


def samples(store: Store) -> list[Sample]:
    rows = store.table.to_pylist()
    return [Sample(**{k: v for k, v in row.items() if k != "sha256"}) for row in rows]


def copy_of(store: Store, row: int) -> np.ndarray:
    """[1, H, W] uint8: an image of the store, a little paler."""
    return (store.images[row : row + 1] * 0.9).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"val_share": 0}, {"split": "train"}, {"split": "test"}])
def test_an_imported_store_is_not_compared_again(
    options: dict, with_copies: Path, tmp_path: Path, compared: list[int]
) -> None:
    tested = write_images(tmp_path / "test", {"A": 5}, first_seed=2)
    test = import_images(tested, tmp_path / "tested", None, CANVAS, split="test")
    store = import_images(
        with_copies, tmp_path / "store", None, CANVAS, **options, apart_from=[test]
    )
    compared.clear()
    refuse_copies(store)
    assert not compared
    everything = Pictures.of(store, "val", "test"), Pictures.of(store, "train")
    assert copies(*everything) == {}  # and the note is true


@pytest.mark.parametrize("form", ["folder", "zip", "gnt", "hdf5", "webdataset"])
def test_an_export_that_comes_back_is_noted_by_its_own_import(
    form: str, imported: Store, tmp_path: Path, compared: list[int]
) -> None:
    """With a copy among its rows, under the note of a store without."""
    from synth.export import FORMATS, export_store

    rows, row = samples(imported), int(imported.rows("val")[0])
    images = np.concatenate([imported.images, copy_of(imported, row)])
    false = written(
        tmp_path / "false", imported, images, [*rows, replace(rows[row], split="train")]
    )
    out = tmp_path / f"export{FORMATS[form]}"
    export_store(false, form, out)
    back = import_images(out, tmp_path / "back", None, CANVAS, as_is=True)
    compared.clear()
    refuse_copies(back)
    assert not compared
    assert copies(Pictures.of(back, "val", "test"), Pictures.of(back, "train")) == {}
    if form != "gnt":  # holds no splits: the copy may have come to lie on the same side
        assert len(back.info["notes"]["near_copies"]) == 1


def test_a_note_holds_for_no_other_images(imported: Store, tmp_path: Path) -> None:
    """Where it would hide a copy: rows appended, images.npy changed, another split."""
    row, rows = int(imported.rows("val")[0]), samples(imported)
    images = np.concatenate([imported.images, copy_of(imported, row)])
    appended = written(
        tmp_path / "appended", imported, images, [*rows, replace(rows[row], split="train")]
    )
    with pytest.raises(InputError, match="1 training images"):
        refuse_copies(appended)

    together = written(tmp_path / "val", imported, images, [*rows, rows[row]])
    notes = {"apart": apart_note(all_of(images), together.column("split"))}
    true = replace(together, info={**together.info, "notes": notes})
    refuse_copies(true)  # both are validation images
    splits = together.column("split").tolist()
    split = pa.array([*splits[:-1], "train"])
    columns = {**true.columns, "split": pa.chunked_array([split])}
    with pytest.raises(InputError, match="1 training images"):
        refuse_copies(replace(true, columns=columns))

    content = imported.content
    changed = np.lib.format.open_memmap(imported.path / "images.npy", mode="r+")
    changed[imported.rows("train")[0]] = copy_of(imported, row)[0]  # its hash stays in the table
    changed.flush()
    again = Store.open(imported.path)
    assert again.content == content
    with pytest.raises(InputError, match="1 training images"):
        refuse_copies(again)


def test_whatever_the_note_was_not_made_of_is_compared(
    imported: Store, tmp_path: Path, compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rows, another order, another store's note, a damaged one, none, another rule."""

    def is_compared(store: Store) -> bool:
        compared.clear()
        refuse_copies(store)
        return bool(compared)

    def with_notes(notes: object) -> Store:
        return replace(imported, info={**imported.info, "notes": notes})

    assert not is_compared(imported)
    assert is_compared(thin_store(imported, tmp_path / "thin", {}, 10, True))
    turned = written(tmp_path / "turned", imported, imported.images[::-1], samples(imported)[::-1])
    assert is_compared(turned)
    top = write_images(tmp_path / "more", {"A": 10, "B": 10}, first_seed=50)
    other = import_images(top, tmp_path / "other", None, CANVAS, val_share=0.5)
    assert is_compared(with_notes(other.info["notes"]))
    for damaged in ({}, None, ["apart"], {"apart": None}, {"apart": True}, {"apart": {"rule": 1}}):
        assert is_compared(with_notes(damaged))
    rule = [name for name in imported.info["notes"]["apart"] if name != "digest"]
    assert len(rule) == 9
    for name in ("_RULE", "COPY_DISTANCE", "CROWD", "_COARSE", "_BLUR_CELLS", "_CANDIDATES"):
        with monkeypatch.context() as patch:
            patch.setattr(near_copies, name, getattr(near_copies, name) + 1)
            compared.clear()
            with suppress(InputError):  # by another rule they may be copies
                refuse_copies(imported)
            assert compared
