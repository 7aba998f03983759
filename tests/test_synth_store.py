"""A store is whole or not there, and says what it was made for."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.files import write_text
from synth.store import Sample, Store, StoreWriter, lock_output

CANVAS = Canvas(size_px=16, margin_px=1)
ALPHABET = Alphabet.of("三國永")


def some_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16), dtype=np.uint8)


def some_samples(count: int, **fields: object) -> list[Sample]:
    return [Sample(label="永", char="永", source="real", **fields) for _ in range(count)]


def make(path: Path, count: int = 5) -> Path:
    with StoreWriter(path, CANVAS, ALPHABET, made={"command": "test"}) as writer:
        writer.append(some_images(count), some_samples(count))
    return path


def test_round_trip(tmp_path: Path) -> None:
    images = some_images(7)
    samples = [
        Sample("永", "永", "real", origin="a/1.png"),
        Sample("國", "國", "font", "val", record='{"slant": 0.1}', seed=2**40, score=0.5),
        Sample("other", "", "real", "test", kind="blank"),
        Sample("other", "氷", "gan", kind="confusable"),
        *some_samples(3),
    ]
    notes: dict[str, object] = {}
    with StoreWriter(tmp_path / "a" / "s", CANVAS, ALPHABET, {"command": "t"}, notes) as writer:
        writer.append(images[:3], samples[:3])
        writer.append(images[:0], [])
        writer.append(images[3:], samples[3:])
        notes["late"] = "永"
    store = Store.open(tmp_path / "a" / "s")
    assert np.array_equal(store.images, images)
    assert (store.canvas, store.alphabet, len(store)) == (CANVAS, ALPHABET, 7)
    assert store.info["made"] == {"command": "t"}
    assert store.info["notes"] == {"late": "永"}
    assert store.info["counts"] == {
        "test": {"other": 1},
        "train": {"永": 4, "other": 1},
        "val": {"國": 1},
    }
    for i, (row, sample) in enumerate(zip(store.table.to_pylist(), samples, strict=True)):
        assert row.pop("sha256") == hashlib.sha256(images[i].tobytes()).hexdigest()
        wanted = vars(sample).copy()
        if np.isnan(wanted["score"]):
            assert np.isnan(row.pop("score"))
            del wanted["score"]
        assert row == wanted
    assert store.classes().tolist() == [2, 1, 3, 3, 2, 2, 2]
    assert store.rows("val").tolist() == [1]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["s"]


def test_images_are_a_memory_map_that_plain_numpy_reads(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "s"))
    assert isinstance(store.images, np.memmap)
    assert not store.images.flags.writeable
    assert np.array_equal(np.load(tmp_path / "s" / "images.npy"), some_images(5))


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "seed=3" / "label=x"))
    assert set(store.column("label")) == {"永"}


def test_nothing_stays_after_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="half way"),
        StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {}) as writer,
    ):
        writer.append(some_images(3), some_samples(3))
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="not one image"),
        StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from test_synth_store import *
with StoreWriter(Path(sys.argv[1]), CANVAS, ALPHABET, {}) as writer:
    writer.append(some_images(3), some_samples(3))
    print("half way", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_that_opens_and_locks_only_while_it_lives(
    tmp_path: Path,
) -> None:
    out = tmp_path / "s"
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        text=True,
    )
    try:
        assert process.stdout.readline() == "half way\n"
        with (
            pytest.raises(InputError, match=r"s\.lock: another process"),
            StoreWriter(out, CANVAS, ALPHABET, {}),
        ):
            pass
        assert not out.exists()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with pytest.raises(InputError, match="no store"):
        Store.open(out)
    for rest in tmp_path.iterdir():
        with pytest.raises(InputError):
            Store.open(rest)
    make(out)  # the next writer takes the name over and cleans up
    assert len(Store.open(out)) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "s")
    with pytest.raises(InputError, match="finished store is there already"):
        make(tmp_path / "s")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="something is there already"):
        make(tmp_path / "folder")
    writer = StoreWriter(tmp_path / "late", CANVAS, ALPHABET, {})
    make(tmp_path / "late")  # another process was faster
    with pytest.raises(InputError, match="there already"), writer:
        pass
    lock_output(tmp_path / "late").release()


def test_a_lock_that_was_released_is_free_again(tmp_path: Path) -> None:
    first = lock_output(tmp_path / "x")
    with pytest.raises(InputError, match="another process"):
        lock_output(tmp_path / "x")
    first.release()
    lock_output(tmp_path / "x").release()


def test_wrong_shapes_and_labels_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {}) as writer:
        with pytest.raises(ValueError, match="for 2 samples"):
            writer.append(some_images(3), some_samples(2))
        with pytest.raises(ValueError, match="float"):
            writer.append(some_images(2).astype(np.float32), some_samples(2))
        with pytest.raises(ValueError, match="'火' is not in the alphabet"):
            writer.append(some_images(1), [Sample("火", "火", "real")])
        writer.append(some_images(1), some_samples(1))


def test_require_shows_both_sides(tmp_path: Path) -> None:
    store = Store.open(make(tmp_path / "s"))
    store.require(CANVAS, ALPHABET)
    with pytest.raises(InputError, match=r"size_px=16.*wanted.*size_px=64"):
        store.require(Canvas(), ALPHABET)
    other = Alphabet.of("三國水")
    with pytest.raises(InputError) as caught:
        store.require(CANVAS, other)
    for part in (str(store.path), ALPHABET.digest, other.digest, "here: 永", "there: 水"):
        assert part in str(caught.value)


# ---- damage ----


def edit_info(path: Path, **changes: object) -> None:
    info = json.loads((path / "store.json").read_text(encoding="utf-8"))
    write_text(path / "store.json", json.dumps(info | changes))


def cut(path: Path, name: str, keep_bytes: int) -> None:
    (path / name).write_bytes((path / name).read_bytes()[:keep_bytes])


def replace_table(path: Path, **columns: list) -> None:
    pq.write_table(pa.table(columns), path / "samples.parquet")


DAMAGES = {
    "images cut": (lambda p: cut(p, "images.npy", 1000), "damaged"),
    "images cut in the header": (lambda p: cut(p, "images.npy", 50), "damaged"),
    "images empty": (lambda p: cut(p, "images.npy", 0), "damaged"),
    "images missing": (lambda p: (p / "images.npy").unlink(), "damaged.*images.npy"),
    "images of objects": (
        lambda p: np.save(p / "images.npy", np.array([{}]), allow_pickle=True),
        "damaged",
    ),
    "one image too few": (
        lambda p: np.save(p / "images.npy", some_images(4)),
        r"\(5, 16, 16\).*\(4, 16, 16\)",
    ),
    "float images": (
        lambda p: np.save(p / "images.npy", some_images(5).astype(np.float32)),
        "uint8.*float32",
    ),
    "table cut": (lambda p: cut(p, "samples.parquet", 500), "damaged"),
    "table missing": (lambda p: (p / "samples.parquet").unlink(), "damaged"),
    "table of other columns": (lambda p: replace_table(p, a=[1] * 5), "columns.*'a'.*wanted"),
    "json cut": (lambda p: cut(p, "store.json", 40), "store.json: damaged"),
    "json a list": (lambda p: (p / "store.json").write_text("[]"), "store.json: damaged"),
    "another count": (lambda p: edit_info(p, images=6), "6, 16, 16.*5, 16, 16"),
    "another version": (lambda p: edit_info(p, format=9), "format 9.*reads 1"),
    "a version without the rest": (
        lambda p: (p / "store.json").write_text('{"format": 2}'),
        "format 2.*reads 1",
    ),
    "another canvas": (
        lambda p: edit_info(p, canvas={"size_px": 32, "margin_px": 2}),
        "32, 32.*16, 16",
    ),
    "an unknown canvas": (lambda p: edit_info(p, canvas={"width": 3}), "damaged"),
    "json in brackets without end": (
        lambda p: (p / "store.json").write_text("[" * 100_000),
        "store.json: damaged",
    ),
    "an alphabet of numbers": (lambda p: edit_info(p, alphabet=[1, 2]), "store.json: damaged"),
    "an alphabet of half characters": (
        lambda p: (p / "store.json").write_text(
            (p / "store.json").read_text("utf-8").replace("永", r"\ud800"), "utf-8"
        ),
        "store.json: damaged",
    ),
    "not how it was made": (
        lambda p: (p / "store.json").write_text(
            (p / "store.json").read_text("utf-8").replace('"made"', '"mad"'), "utf-8"
        ),
        "store.json: damaged .'made'",
    ),
    "notes that are none": (lambda p: edit_info(p, notes=[]), "store.json: damaged"),
    "another alphabet": (lambda p: edit_info(p, alphabet=["一", "永"]), ALPHABET.digest),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_on_opening(tmp_path: Path, damage: str) -> None:
    path = make(tmp_path / "s")
    Store.open(path)
    do, words = DAMAGES[damage]
    do(path)
    with pytest.raises(InputError, match=words) as caught:
        Store.open(path)
    assert str(path) in str(caught.value)


# ---- what is read when ----


def test_columns_are_read_when_they_are_asked_for_long_ones_are_not_kept(tmp_path: Path) -> None:
    samples = [Sample("永", "永", "font", record="x" * 1000, origin="f")] * 4000
    with StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {}) as writer:
        for start in range(0, 4000, 500):
            writer.append(some_images(500, start), samples[:500])
    before = pa.total_allocated_bytes()
    store = Store.open(tmp_path / "s")
    assert store.columns == {} and pa.total_allocated_bytes() - before < 100_000
    assert store.rows("train").tolist() == list(range(4000))
    assert set(store.columns) == {"split"}
    assert len(store.column("record")[7]) == 1000 and len(store.column("sha256")) == 4000
    assert set(store.columns) == {"split"}
    assert pa.total_allocated_bytes() - before < 1_000_000  # of 4 MB that the records are


def test_the_content_does_not_depend_on_how_it_was_written(tmp_path: Path) -> None:
    images, samples = some_images(7), some_samples(7)
    for name, cuts in (("one", (0, 7)), ("two", (0, 3, 7)), ("three", (0, 1, 2, 7))):
        with StoreWriter(tmp_path / name, CANVAS, ALPHABET, {}) as writer:
            for start, end in itertools.pairwise(cuts):
                writer.append(images[start:end], samples[start:end])
    contents = {Store.open(tmp_path / name).content for name in ("one", "two", "three")}
    told = hashlib.sha256()
    for column in (
        [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        *(["永"] * 7, ["永"] * 7, ["train"] * 7),
    ):
        told.update("\n".join(column).encode())
    assert contents == {told.hexdigest()[:12]}


def test_a_table_changed_after_opening_is_an_error(tmp_path: Path) -> None:
    store, other = Store.open(make(tmp_path / "s")), make(tmp_path / "other", 6)
    (other / "samples.parquet").replace(store.path / "samples.parquet")
    with pytest.raises(InputError, match="changed since the store was opened"):
        store.column("label")
    (store.path / "samples.parquet").unlink()
    with pytest.raises(InputError, match="changed since the store was opened"):
        store.rows("train")


def test_a_store_made_anew_under_the_same_name_is_not_mixed_with_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    store = Store.open(make(tmp_path / "s"))
    store.column("label")
    shutil.rmtree(store.path)
    with StoreWriter(store.path, CANVAS, ALPHABET, {}) as writer:  # as many rows
        writer.append(some_images(5, 1), some_samples(5, origin="b"))
    for read in (
        lambda: store.column("origin"),
        lambda: store.content,
        lambda: store.take(np.arange(5)),
        store.require_unchanged,
    ):
        with pytest.raises(InputError, match=r"s/images\.npy: changed since the store was opened"):
            read()
    again = Store.open(store.path)
    os.utime(store.path / "samples.parquet", ns=(0, 0))
    with pytest.raises(InputError, match=r"samples\.parquet: changed since the store was opened"):
        again.take(np.arange(5))


def test_hashes_are_compared_a_part_at_a_time_however_the_table_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.store._READ_ROWS", 3)
    store, taken = Store.open(make(tmp_path / "s", 8)), []
    assert store.table.column("sha256").num_chunks == 1
    take = Store.take
    monkeypatch.setattr(Store, "take", lambda *a: (taken.append(a[1].tolist()), take(*a))[1])
    store.require_unchanged()
    assert taken == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_other_pixels_under_the_same_hashes_are_named(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {}) as writer:
        writer.append(some_images(5), some_samples(5, origin="a/1.png"))
        writer.append(some_images(4, 1), some_samples(4, origin="b/2.png"))
    store = Store.open(tmp_path / "s")
    store.require_unchanged()
    content = store.content
    images = np.lib.format.open_memmap(store.path / "images.npy", mode="r+")
    images[6, 3, 3] ^= 1
    images.flush()
    again = Store.open(tmp_path / "s")
    assert again.content == content
    with pytest.raises(InputError, match=r"s/images.npy: image 6 \(b/2.png\) is not the one"):
        again.require_unchanged()
    cut(store.path, "images.npy", 1000)
    with pytest.raises(InputError, match=r"images\.npy: .* 1000 bytes, .* when it was"):
        again.require_unchanged()


def test_a_path_that_is_no_utf8_is_kept_as_it_is(tmp_path: Path) -> None:
    """How a store was made names paths, of its real store or of fonts, say."""
    odd = os.fsdecode(b"/data/\xff")
    with StoreWriter(tmp_path / "s", CANVAS, ALPHABET, {"real": odd}, {"fonts": [odd]}) as writer:
        writer.append(some_images(1), some_samples(1))
    info = Store.open(tmp_path / "s").info
    assert (info["made"], info["notes"]) == ({"real": odd}, {"fonts": [odd]})
    assert os.fsencode(info["made"]["real"]) == b"/data/\xff"
