"""Store -> export -> import: the same store; and each export is read by somebody else's reader."""

from __future__ import annotations

import builtins
import io
import json
import sys
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image
from webdataset import tariterators

from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.corpus import import_images
from synth.errors import InputError
from synth.export import FORMATS, export_store
from synth.store import Sample, Store, StoreWriter

SIZE, CHARS = 32, "永國が_A"
COLUMNS = ("label", "char", "kind", "source", "split", "origin", "record", "seed", "sha256")
NEEDS = {"lmdb": "lmdb", "hdf5": "h5py", "tfrecord": "google_crc32c"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every tone, every source and split, and all that "other" can be."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(char, char, source, split, origin=f"{char}/{i}", record='{"slant": 0.1}', seed=-i)
        for i, (char, source, split) in enumerate(
            (c, s, p)
            for c in CHARS
            for s in ("real", "font", "gan")
            for p in ("train", "val", "test")
        )
    ]
    samples += [
        Sample(OTHER, "", "real", kind="unknown"),
        Sample(OTHER, "火", "font", kind="confusable", score=0.25),
        Sample(OTHER, "永", "font", kind="cut"),  # half of a known character
        Sample(OTHER, "😀", "font", kind="common"),  # not in GBK
        Sample(OTHER, "", "gan", "val", kind="blank"),
    ]
    images = rng.integers(0, 256, (len(samples), SIZE, SIZE), dtype=np.uint8)
    images[0, 0] = np.arange(SIZE) * 255 // (SIZE - 1)
    path = tmp_path_factory.mktemp("export") / "store"
    with StoreWriter(path, Canvas(SIZE, 2), Alphabet.of(CHARS), {}) as writer:
        writer.append(images, samples)
    return Store.open(path)


def exported(store: Store, form: str, folder: Path) -> Path:
    done = export_store(store, form, folder / f"out{FORMATS[form]}")
    assert done.images + done.left_out == len(store)
    assert {p.name for p in folder.iterdir()} == {done.path.name}  # nothing else is left there
    return done.path


def again(path: Path, **options: object) -> Store:
    """Imported, without changing a pixel."""
    out = path.parent / "again"
    return import_images(
        path, out, Alphabet.of(CHARS), Canvas(SIZE, 2), as_is=True, outside="other", **options
    )


def rows(store: Store) -> list[tuple]:
    columns = [store.column(name).tolist() for name in COLUMNS]
    score = np.nan_to_num(store.column("score"), nan=-1).tolist()
    pixels = [image.tobytes() for image in store.images]
    return sorted(zip(*columns, score, pixels, strict=True))


@pytest.mark.parametrize("form", [f for f in FORMATS if f != "gnt"])
def test_export_and_import_give_the_same_store(store: Store, form: str, tmp_path: Path) -> None:
    back = again(exported(store, form, tmp_path))
    assert rows(back) == rows(store)
    assert back.alphabet == store.alphabet and back.info["notes"]["skipped"] == {}
    assert back.info["counts"] == store.info["counts"]


def test_gnt_holds_pixels_labels_and_characters(store: Store, tmp_path: Path) -> None:
    back = again(exported(store, "gnt", tmp_path), split="train")

    def told(store: Store) -> set[tuple]:
        return set(zip(*(store.column(n).tolist() for n in ("label", "char", "sha256")),
                       strict=True))  # fmt: skip

    missing = told(store) - told(back)
    assert told(back) < told(store)
    # が is in GBK; what is no whole character outside the alphabet has no tag
    assert {char for _, char, _ in missing} == {"", "永", "😀"} and len(missing) == 4


@pytest.mark.parametrize("form", list(FORMATS))
def test_exports_can_be_imported_like_scans(store: Store, form: str, tmp_path: Path) -> None:
    """Without --as-is: the same labels, and ink where there was ink."""
    path = exported(store, form, tmp_path)
    back = import_images(path, tmp_path / "b", Alphabet.of(CHARS), Canvas(SIZE, 2), outside="other")
    assert set(back.column("label")) == set(store.column("label"))


def test_a_relabelled_image_keeps_its_source_and_split_alone(store: Store, tmp_path: Path) -> None:
    folder = exported(store, "folder", tmp_path)
    file = min((folder / "永").iterdir())
    table = [
        json.loads(line) for line in (folder / "samples.jsonl").read_text("utf-8").splitlines()
    ]
    was = next(row for row in table if row["file"] == f"永/{file.name}")
    moved = file.rename(folder / "國" / f"moved_{file.name}")
    (folder / "samples.jsonl").write_text(
        "\n".join(
            json.dumps(row | {"file": f"國/{moved.name}"} if row is was else row) for row in table
        ),
        encoding="utf-8",
    )
    back = again(folder)
    (row,) = [r for r in back.table.to_pylist() if r["origin"] == f"國/{moved.name}"]
    assert (row["label"], row["char"]) == ("國", "國")
    assert (row["source"], row["split"]) == (was["source"], was["split"])


# ---- other people's readers ----


def test_pillow_sees_dark_ink_on_white(store: Store, tmp_path: Path) -> None:
    folder = exported(store, "flat", tmp_path)
    names = sorted(p.name for p in folder.glob("*.png"))
    assert len(names) == len(store) and names[0] == "0000000_永.png"
    image = Image.open(folder / names[0])
    assert image.mode == "L" and (np.asarray(image) == 255 - store.images[0]).all()


def test_h5py_reads_arrays(store: Store, tmp_path: Path) -> None:
    with h5py.File(exported(store, "hdf5", tmp_path)) as file:
        np.testing.assert_array_equal(file["images"][:], 255 - store.images)
        assert file["labels"].asstr()[:].tolist() == store.column("label").tolist()


def test_the_webdataset_package_reads_the_tar(store: Store, tmp_path: Path) -> None:
    path = exported(store, "webdataset", tmp_path)
    with path.open("rb") as stream:  # WebDataset itself leaves its file open
        files = tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        read = list(tariterators.group_by_keys(files))
    assert len(read) == len(store)
    for one, image, label in zip(read, store.images, store.column("label"), strict=True):
        assert one["txt"].decode() == label
        assert (np.asarray(Image.open(io.BytesIO(one["png"]))) == 255 - image).all()


def test_dali_reads_the_tfrecord(store: Store, tmp_path: Path) -> None:
    """TensorFlow's format as somebody else understands it, checksums aside."""
    from nvidia.dali import fn, pipeline_def, tfrecord

    path = exported(store, "tfrecord", tmp_path)
    index, at = [], 0
    data = path.read_bytes()
    while at < len(data):
        size = 16 + int.from_bytes(data[at : at + 8], "little")
        index.append(f"{at} {size}")
        at += size
    (tmp_path / "index").write_text("\n".join(index) + "\n")

    @pipeline_def(batch_size=len(store), num_threads=1, device_id=None)
    def graph() -> tuple:
        text = tfrecord.FixedLenFeature((), tfrecord.string, "")
        names = ("image/encoded", "image/class/text")
        out = fn.readers.tfrecord(
            path=str(path), index_path=str(tmp_path / "index"), features=dict.fromkeys(names, text)
        )
        return out[names[0]], out[names[1]]

    pipeline = graph()
    pipeline.build()
    files, labels = pipeline.run()
    for i, label in enumerate(store.column("label")):
        assert bytes(labels.at(i)).decode() == label
        image = Image.open(io.BytesIO(bytes(files.at(i))))
        assert (np.asarray(image) == 255 - store.images[i]).all()


def test_the_lmdb_layout_of_text_recognition(store: Store, tmp_path: Path) -> None:
    path = exported(store, "lmdb", tmp_path)
    with lmdb.open(str(path), readonly=True, lock=False) as e, e.begin() as transaction:
        count = int(transaction.get(b"num-samples"))
        assert count == len(store)
        for number, label in enumerate(store.column("label"), 1):
            assert transaction.get(b"label-%09d" % number).decode() == label
            image = Image.open(io.BytesIO(transaction.get(b"image-%09d" % number)))
            assert (np.asarray(image) == 255 - store.images[number - 1]).all()


# ---- errors ----


def test_wrong_requests(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export to 'pickle': there are folder, .*webdataset"):
        export_store(store, "pickle", tmp_path / "x")
    with pytest.raises(InputError, match=r"must end in \.tar"):
        export_store(store, "webdataset", tmp_path / "x.zip")
    (tmp_path / "x.tar").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        export_store(store, "webdataset", tmp_path / "x.tar")
    assert (tmp_path / "x.tar").read_text() == "mine"


@pytest.mark.parametrize("form", ["folder", "flat", "zip", "webdataset"])
def test_a_label_that_no_file_name_can_hold(form: str, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", Canvas(SIZE, 2), Alphabet.of("./"), {}) as writer:
        writer.append(np.ones((2, SIZE, SIZE), np.uint8), [Sample(c, c, "real") for c in "./"])
    store = Store.open(tmp_path / "s")
    back = import_images(
        export_store(store, form, tmp_path / f"x{FORMATS[form]}").path,
        tmp_path / "again",
        store.alphabet,
        store.canvas,
        as_is=True,
    )
    assert rows(back) == rows(store)


@pytest.mark.parametrize(("form", "module"), list(NEEDS.items()))
def test_a_missing_package_names_its_extra(
    store: Store, form: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(store, form, tmp_path)
    real_import = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *rest, **more)

    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"{module} is not installed; pip install 'inkfill\["):
        again(path)
    with pytest.raises(InputError, match=rf"pip install 'inkfill\[{form}\]'"):
        export_store(store, form, tmp_path / f"other{FORMATS[form]}")
    assert {p.name for p in tmp_path.iterdir()} == {path.name}


def test_as_is_wants_the_canvas(tmp_path: Path) -> None:
    (tmp_path / "in" / "永").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, SIZE), dtype=np.uint8)
    Image.fromarray(pixels[:SIZE]).save(tmp_path / "in" / "永" / "good.png")
    Image.fromarray(pixels).save(tmp_path / "in" / "永" / "tall.png")
    Image.fromarray(pixels[:SIZE]).convert("RGB").save(tmp_path / "in" / "永" / "rgb.png")
    back = import_images(
        tmp_path / "in", tmp_path / "s", None, Canvas(SIZE, 2), val_share=0, as_is=True
    )
    np.testing.assert_array_equal(back.images[0], 255 - pixels[:SIZE])
    assert set(back.info["notes"]["skipped"]) == {"永/tall.png", "永/rgb.png"}
    assert "must be gray and 32 x 32" in back.info["notes"]["skipped"]["永/tall.png"]
