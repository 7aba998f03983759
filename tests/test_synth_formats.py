"""Each format's reader against files of its kind: good, odd, damaged, and meant to harm."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import lmdb
import numpy as np
import pytest
from conftest import draw_strokes
from PIL import Image
from torchvision.datasets import mnist

from synth import format_idx, format_tfrecord
from synth.alphabet import Alphabet
from synth.canvas import Canvas, normalise
from synth.class_names import ClassNames
from synth.corpus import import_images, opened
from synth.errors import InputError
from synth.export import FORMATS, export_store
from synth.found import parse_row, parse_table
from synth.store import Sample, Store, StoreWriter

CANVAS = Canvas(32, 2)


def do_import(path: Path, alphabet: Alphabet | None = None, **options: object) -> Store:
    out = path.parent / f"store{len(list(path.parent.glob('store*')))}"
    return import_images(path, out, alphabet, CANVAS, val_share=0, **options)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    draw_strokes(seed).save(stream, "PNG")
    return stream.getvalue()


def labels(store: Store) -> dict[str, str]:
    return dict(zip(store.column("origin"), store.column("label"), strict=True))


def skipped(store: Store) -> dict[str, str]:
    return store.info["notes"]["skipped"]


# ---- idx: MNIST and its kin ----


def write_idx(file: Path, array: np.ndarray) -> None:
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(np.uint8).tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def drawn(n: int, height: int = 28, width: int = 28) -> np.ndarray:
    """[n, h, w] uint8, light strokes on black, as those sets have them."""
    return np.stack(
        [255 - np.asarray(draw_strokes(i).resize((width, height))) for i in range(n)]
    ).astype(np.uint8)


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist(tmp_path: Path, gz: str, dot: str) -> None:
    images, numbers = drawn(12), np.arange(12) % 10
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw / f"train-images{dot}idx3-ubyte{gz}", images)
    write_idx(raw / f"train-labels{dot}idx1-ubyte{gz}", numbers)
    store = do_import(raw, classes="0123456789")
    assert len(store) == 12 and store.alphabet.chars == tuple("0123456789")
    for row in store.table.to_pylist():
        i = int(row["origin"].split("#")[1])
        assert row["label"] == str(numbers[i])
        at = store.column("origin").tolist().index(row["origin"])
        np.testing.assert_array_equal(
            store.images[at], normalise(Image.fromarray(images[i]), CANVAS)
        )


def test_mnist_as_torchvision_reads_it(tmp_path: Path) -> None:
    """The same file through torchvision's own reader."""
    images = drawn(5, 20, 28)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    read = format_idx._read_idx(tmp_path / "train-images-idx3-ubyte", 3)
    wanted = mnist.read_image_file(str(tmp_path / "train-images-idx3-ubyte")).numpy()
    np.testing.assert_array_equal(read, wanted)
    np.testing.assert_array_equal(read, images)


def test_emnist_has_rows_and_columns_exchanged_and_its_own_mapping(tmp_path: Path) -> None:
    images = drawn(4, 20, 28)
    raw = tmp_path / "raw"
    write_idx(raw / "emnist-letters-train-images-idx3-ubyte.gz", images.transpose(0, 2, 1))
    write_idx(raw / "emnist-letters-train-labels-idx1-ubyte.gz", np.array([1, 2, 1, 26]))
    (raw / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n26 90 122\n")
    store = do_import(raw)
    assert sorted(store.column("label")) == ["A", "A", "B", "Z"]
    at = store.column("label").tolist().index("Z")
    np.testing.assert_array_equal(store.images[at], normalise(Image.fromarray(images[3]), CANVAS))


def test_kmnist_needs_its_class_names(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_idx(raw / "t10k-images-idx3-ubyte", drawn(3))
    write_idx(raw / "t10k-labels-idx1-ubyte", np.array([0, 9, 4]))
    with pytest.raises(
        InputError, match=r"its labels are numbers.*--classes.*おきすつなはまやれを"
    ):
        do_import(raw)
    (raw / "kmnist_classmap.csv").write_text(
        "index,codepoint,char\n0,U+304A,お\n4,U+306A,な\n9,U+3092,を\n", encoding="utf-8"
    )
    beside = do_import(raw)
    given = do_import(raw, classes="おきすつなはまやれを")
    assert labels(beside) == labels(given)
    assert sorted(beside.column("label")) == ["お", "な", "を"]


def test_a_folder_of_several_idx_sets_is_not_mixed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("train", "t10k"):
        write_idx(raw / f"{name}-images-idx3-ubyte", drawn(2))
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.array([0, 1]))
        shutil.copy(raw / f"{name}-images-idx3-ubyte", raw / f"{name}-images-idx3-ubyte.gz")
    with pytest.raises(InputError, match=r"2 image files of idx format.*one by one"):
        do_import(raw, classes="01")
    store = do_import(raw / "t10k-images-idx3-ubyte", classes="01", split="test")
    assert set(store.column("split")) == {"test"} and len(store) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no idx file of 3 dimensions"),
        (b"\0\0\x0d\3" + b"\0\0\0\1" * 3, "no idx file of 3 dimensions"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 28, 28) + b"\0" * 100, "does not; damaged"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**10, 2**10), "the limit is"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 0, 28, 28), "the limit is"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, data: bytes, message: str) -> None:
    write_idx(tmp_path / "a-labels-idx1-ubyte", np.array([0, 1]))
    file = tmp_path / "a-images-idx3-ubyte"
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        do_import(file, classes="01")
    file.with_name(file.name + ".gz").write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(InputError, match=r"damaged|no idx"):
        do_import(file.with_name(file.name + ".gz"), classes="01")
    assert not list(tmp_path.glob("store*"))


def test_idx_numbers_without_a_name_are_listed(tmp_path: Path) -> None:
    write_idx(tmp_path / "a-images-idx3-ubyte", drawn(3))
    write_idx(tmp_path / "a-labels-idx1-ubyte", np.array([0, 7, 1]))
    store = do_import(tmp_path / "a-images-idx3-ubyte", classes="ab")
    assert skipped(store) == {"a-images#0000001": "class 7 is not among the 2 classes"}


# ---- Omniglot: folders named otherwise ----


def test_omniglot(tmp_path: Path) -> None:
    top = tmp_path / "images_background"
    for script in ("Korean", "Japanese_(katakana)"):
        for character in ("character01", "character02"):
            folder = top / script / character
            folder.mkdir(parents=True)
            for i in range(3):
                draw_strokes(len(script) * 10 + int(character[-1]) + 100 * i).convert("1").save(
                    folder / f"000{i}_01.png"
                )
    with pytest.raises(InputError, match="or by --classes"):
        do_import(top)
    names = tmp_path / "names.csv"
    names.write_text(
        "Korean/character01,ㄱ\nKorean/character02,ㅏ\n"
        "Japanese_(katakana)/character01,other\nJapanese_(katakana)/character02,ア\n",
        encoding="utf-8",
    )
    store = do_import(top, classes=str(names))
    assert store.alphabet.chars == ("ア", "ㄱ", "ㅏ") and len(store) == 12
    assert labels(store)["Korean/character02/0001_01.png"] == "ㅏ"
    assert labels(store)["Japanese_(katakana)/character01/0000_01.png"] == "other"
    # what the file does not name is an error, as any other folder that is no character
    names.write_text("Korean/character01,ㄱ\n", encoding="utf-8")
    with pytest.raises(InputError, match="folder"):
        do_import(top, classes=str(names))


def test_class_names(tmp_path: Path) -> None:
    assert ClassNames.read("ab c").of == {"0": "a", "1": "b", "2": "c"}
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # of more bytes than a name may have
    assert list(ClassNames.read(many).of.values()) == list(many)
    with pytest.raises(InputError, match="no such file, nor distinct characters"):
        ClassNames.read(many + "." + many)
    file = tmp_path / "classes"
    file.write_text("永\n,\nother\n", encoding="utf-8")
    assert ClassNames.read(str(file)).of == {"0": "永", "1": ",", "2": "other"}
    file.write_text("0 48\n10 65\n", encoding="utf-8")
    assert ClassNames.read(str(file)).of == {"0": "0", "10": "A"}
    file.write_text("a/b\tu\nc\tU+6C38\n", encoding="utf-8")
    names = ClassNames.read(str(file))
    assert names.of_folder("x/a/b/1.png") == "u" and names.of_folder("c/1.png") == "永"
    assert names.of_folder("b/1.png") is None
    for text, message in [
        ("永\n0,永\n", "line 2: some lines"),
        ("0,永\n0,國\n", "line 2: class '0' stands there twice"),
        ("0,永國\n", "line 1: '永國' is neither"),
        ("0,9999999\n", "is no code point"),
        ("\n", "no class in it"),
    ]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            ClassNames.read(str(file))
    for given in ("names.txt", "aa", ""):
        with pytest.raises(InputError, match="no such file, nor distinct"):
            ClassNames.read(given)


# ---- containers ----


class Harm:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def container(form: str, tmp_path: Path, samples: list[tuple[bytes, bytes]]) -> Path:
    """(image file, label) in the plain layout of a format, written without our own writer."""
    path = tmp_path / f"set{FORMATS[form]}"
    if form == "webdataset":
        with tarfile.open(path, "w") as archive:
            for i, (image, label) in enumerate(samples):
                for ending, data in (("png", image), ("txt", label)):
                    info = tarfile.TarInfo(f"{i:03d}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    elif form == "lmdb":
        with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as txn:
            for i, (image, label) in enumerate(samples, 1):
                txn.put(b"image-%09d" % i, image)
                txn.put(b"label-%09d" % i, label)
            txn.put(b"num-samples", str(len(samples)).encode())
    elif form == "hdf5":
        with h5py.File(path, "w") as file:
            kind = h5py.vlen_dtype(np.uint8)
            images = file.create_dataset("images", (len(samples),), kind)
            texts = file.create_dataset("labels", (len(samples),), h5py.string_dtype())
            for i, (image, label) in enumerate(samples):
                images[i], texts[i] = np.frombuffer(image, np.uint8), label
    else:
        with path.open("wb") as f:
            for image, label in samples:
                message = format_tfrecord._example_type()()
                for name, data in (("image/encoded", image), ("image/class/text", label)):
                    message.features.feature[name].bytes_list.value.append(data)
                data = message.SerializeToString()
                length = struct.pack("<Q", len(data))
                crc = format_tfrecord._masked_crc
                f.write(length + crc(length) + data + crc(data))
    return path


CONTAINERS = ("webdataset", "lmdb", "hdf5", "tfrecord")


@pytest.mark.parametrize("form", CONTAINERS)
def test_what_is_broken_is_listed_and_nothing_is_unpickled(form: str, tmp_path: Path) -> None:
    mark = tmp_path / "harm"
    samples = [
        (png(0), "永".encode()),
        (png(1)[:-30], "永".encode()),
        (pickle.dumps(Harm(mark)), "永".encode()),
        (png(3), pickle.dumps(Harm(mark), 0)),
        (png(4), "永國".encode()),
        (png(5), "國".encode()),
    ]
    store = do_import(container(form, tmp_path, samples))
    assert sorted(store.column("label")) == ["國", "永"] and not mark.exists()
    reasons = list(skipped(store).values())
    assert len(reasons) == 4
    assert sum("not an image" in r for r in reasons) == 1
    assert sum("the file is cut" in r for r in reasons) == 1
    wanted = {normalise(draw_strokes(i), CANVAS).tobytes() for i in (0, 5)}
    assert {image.tobytes() for image in store.images} == wanted


@pytest.mark.parametrize("form", CONTAINERS)
def test_cut_containers_never_crash(form: str, tmp_path: Path) -> None:
    """Cut at many places: an error in one line, or a store of what is left."""
    samples = [(png(i), "永".encode()) for i in range(6)]
    path = container(form, tmp_path, samples)
    file = path / "data.mdb" if path.is_dir() else path
    data = file.read_bytes()
    outcomes = set()
    for keep in np.linspace(0, len(data) - 1, 12).astype(int).tolist():
        file.write_bytes(data[:keep])
        try:
            outcomes.add(len(do_import(path)))
        except InputError as error:
            outcomes.add("error")
            assert "\n" not in str(error)
    assert "error" in outcomes
    if form in ("webdataset", "tfrecord"):  # these are read from the start
        assert outcomes & {1, 2, 3, 4, 5}


def test_lmdb_with_paths_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "set.lmdb"
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as txn:
        for i, char in enumerate("永永國"):
            txn.put(f"{char}/{i}.png".encode(), png(i))
        txn.put(b"notes", b"words")
    store = do_import(path)
    assert labels(store) == {"永/0.png": "永", "永/1.png": "永", "國/2.png": "國"}
    assert store.info["notes"]["ignored_files"] == 1
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as txn:
        for i, char in enumerate("永永國"):
            txn.delete(f"{char}/{i}.png".encode())
    with pytest.raises(InputError, match="a layout that is not known"):
        do_import(path)
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as txn:
        txn.put(b"num-samples", b"99999999999")
    with pytest.raises(InputError, match="num-samples"):
        do_import(path)
    (tmp_path / "words.lmdb").write_text("words" * 1000)
    with pytest.raises(InputError, match=r"words\.lmdb: no LMDB"):
        do_import(tmp_path / "words.lmdb")


def test_hdf5_of_arrays_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    images = 255 - drawn(4)
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = images, np.array([1, 0, 1, 5])
    with pytest.raises(InputError, match=r"labels are numbers.*--classes"):
        do_import(path)
    assert sorted(do_import(path, classes="永國").column("label")) == ["國", "國", "永"]
    with h5py.File(path, "a") as file:
        file.attrs["classes"] = ["a", "b"]
    store = do_import(path)
    assert sorted(store.column("label")) == ["a", "b", "b"]
    assert list(skipped(store)) == ["images[3]"]
    np.testing.assert_array_equal(store.images[0], normalise(Image.fromarray(images[1]), CANVAS))
    rgb = np.repeat(images[..., None], 3, 3)
    with h5py.File(path, "a") as file:
        del file["images"]
        file["images"] = rgb
    assert do_import(path).content == store.content


def test_an_error_while_an_hdf5_file_is_open_is_no_damage_of_it(tmp_path: Path) -> None:
    path = container("hdf5", tmp_path, [(png(0), "永".encode())])
    for error in (RuntimeError("no process"), KeyError("permutation"), OSError("no space")):
        with pytest.raises(type(error), match=str(error.args[0])), opened(path) as listing:
            assert len(listing.found) == 1
            raise error


@pytest.mark.parametrize("name", ["images", "labels", "samples", "classes"])
@pytest.mark.parametrize("what", ["scalar", "empty", "date", "table"])
def test_hdf5_of_shapes_and_types_that_are_no_list(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["images"] = 255 - drawn(2)
        file["labels"] = [0, 1] if name == "classes" else ["a", "b"]
        file["samples"] = ["{}", "{}"]
        file["classes"] = ["a", "b"]
        del file[name]
        if what == "scalar":
            file[name] = "a"
        elif what == "empty":
            file[name] = h5py.Empty(h5py.string_dtype())
        elif what == "date":
            space = h5py.h5s.create_simple((2,))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.UNIX_D32LE, space)
        else:
            file.create_dataset(name, (2, 2), h5py.string_dtype())
    with pytest.raises(InputError, match=rf"set\.h5: .*{name}") as caught:
        do_import(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("trick", ["soft", "external", "raw", "virtual", "group", "float", "short"])
def test_hdf5_that_points_elsewhere_is_refused(tmp_path: Path, trick: str) -> None:
    secret, path = tmp_path / "secret.h5", tmp_path / "set.h5"
    images = drawn(2)
    with h5py.File(secret, "w") as file:
        file["images"] = images
    (tmp_path / "raw").write_bytes(images.tobytes())
    with h5py.File(path, "w") as file:
        file["labels"] = ["a", "b"]
        if trick == "soft":
            file["images"] = h5py.SoftLink("/elsewhere")
        elif trick == "external":
            file["images"] = h5py.ExternalLink(str(secret), "images")
        elif trick == "raw":
            file.create_dataset(
                "images", images.shape, np.uint8, external=[(str(tmp_path / "raw"), 0, 2 * 784)]
            )
        elif trick == "virtual":
            layout = h5py.VirtualLayout(images.shape, np.uint8)
            layout[:] = h5py.VirtualSource(str(secret), "images", images.shape)
            file.create_virtual_dataset("images", layout)
        elif trick == "group":
            file.create_group("images")
        elif trick == "float":
            file["images"] = images / 255
        else:
            file["images"] = images[:1]
    with pytest.raises(InputError, match=r"set\.h5: images"):
        do_import(path)


def test_tar_with_numbers_json_and_harm(tmp_path: Path) -> None:
    path = tmp_path / "set.tar"

    def add(archive: tarfile.TarFile, name: str, data: bytes, **more: object) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in more.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(data) if info.isreg() else None)

    with tarfile.open(path, "w") as archive:
        add(archive, "train/0.png", png(0))
        add(archive, "train/0.cls", b"1\n")
        add(archive, "../../1.png", png(1))  # a name; nothing is ever extracted
        add(archive, "../../1.json", json.dumps({"label": "永"}).encode())
        add(archive, "2.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "2.txt", "永".encode())
        add(archive, "3.png", png(3))
        add(archive, "3.pyd", pickle.dumps(Harm(tmp_path / "harm")))
        add(archive, "4.png", png(4))
        add(archive, "4.json", b"[" * 100_000)
        add(archive, ".hidden.png", png(5))
    store = do_import(path, classes="國永")
    assert sorted(store.column("label")) == ["永", "永"] and not (tmp_path / "harm").exists()
    assert set(skipped(store)) == {"set.tar/2.png", "set.tar/3", "set.tar/4"}
    assert store.info["notes"]["ignored_files"] == 2
    plain = do_import(path)
    assert "say what it stands for" in skipped(plain)["set.tar/train/0"]


def test_shards_and_mixed_folders(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(3):
        file = container(
            "webdataset", tmp_path, [(png(2 * i + j), b"ab"[j : j + 1]) for j in (0, 1)]
        )
        file.rename(folder / f"{i:03d}.tar")
    store = do_import(folder)
    assert len(store) == 6 and "001.tar/000" in labels(store)
    (folder / "x.tfrecord").write_bytes(b"")
    with pytest.raises(InputError, match="holds both"):
        do_import(folder)


def test_tfrecord_with_other_names_and_bad_checksums(tmp_path: Path) -> None:
    crc = format_tfrecord._masked_crc

    def record(**values: object) -> bytes:
        message = format_tfrecord._example_type()()
        for name, value in values.items():
            feature = message.features.feature[name]
            kind = feature.int64_list if isinstance(value, int) else feature.bytes_list
            kind.value.append(value)
        data = message.SerializeToString()
        length = struct.pack("<Q", len(data))
        return length + crc(length) + data + crc(data)

    good = record(image=png(0), label=1)
    flipped = bytearray(record(image=png(1), label=1))
    flipped[100] ^= 1
    huge = struct.pack("<Q", 2**60)
    (tmp_path / "a.tfrecord").write_bytes(
        good + flipped + record(image=png(2), label="國".encode()) + record(words=b"no image")
        + record(image=png(3)) + huge + crc(huge) + good
    )  # fmt: skip
    store = do_import(tmp_path / "a.tfrecord", classes="國永")
    assert sorted(store.column("label")) == ["國", "永"]
    reasons = skipped(store)
    assert "checksum" in reasons["a.tfrecord#0000002"]
    assert "no feature image/encoded or image" in reasons["a.tfrecord#0000004"]
    assert "no feature image/class/text or label" in reasons["a.tfrecord#0000005"]
    assert "the rest of this file is left out" in reasons["a.tfrecord#0000006"]
    # the CRC of the specification's own test vector: RFC 3720, B.4, 32 bytes of zeros
    assert google_crc32c.value(b"\0" * 32) == 0x8A9136AA


# ---- rows of exports ----


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"label": "a"}',
        '{"label": "a", "char": "a", "source": "dream"}',
        '{"label": "a", "char": "a", "source": "real", "split": "all"}',
        '{"label": 3, "char": "a", "source": "real"}',
        '{"label": "a", "char": "a", "source": "real", "seed": true}',
        '{"label": "a", "char": "a", "source": "real", "seed": 99999999999999999999}',
        '{"label": "a", "char": "\\ud800", "source": "real"}',
    ],
)
def test_rows_that_no_export_wrote(text: str) -> None:
    with pytest.raises(InputError, match="damaged"):
        parse_row(text)
    with pytest.raises(InputError, match=r"samples\.jsonl, line 1"):
        parse_table(text.encode() or b"x")


def test_a_row_with_a_label_outside_is_held_against_the_alphabet(
    image_folder: Path, tmp_path: Path
) -> None:
    store = do_import(image_folder)
    path = export_store(store, "folder", tmp_path / "out").path
    with pytest.raises(InputError, match="not in the alphabet"):
        do_import(path, Alphabet.of("永"))
    back = do_import(path, Alphabet.of("永國銀"), outside="other")
    rows = [r for r in back.table.to_pylist() if r["char"] == "三"]
    assert rows and all((r["label"], r["kind"]) == ("other", "unknown") for r in rows)


def test_images_that_a_tar_does_not_hold_whole_are_listed(tmp_path: Path) -> None:
    """GNU tar writes the second name of a file as a link: those images were gone unseen."""
    top = tmp_path / "set"
    top.mkdir()
    for i in range(2):
        (top / f"{i}.png").write_bytes(png(i))
        (top / f"{i}.txt").write_text("永", "utf-8")
    (top / "2.png").hardlink_to(top / "0.png")
    (top / "2.txt").write_text("永", "utf-8")
    (top / "3.png").symlink_to("1.png")
    (top / "3.txt").write_text("永", "utf-8")
    with (top / "4.png").open("wb") as file:
        file.write(png(4))
        file.truncate(2**22)
    (top / "4.txt").write_text("永", "utf-8")
    command = ["tar", "--sparse", "--sort=name", "-cf", str(tmp_path / "set.tar"), "-C", str(top)]
    subprocess.run([*command, "."], check=True)
    store = do_import(tmp_path / "set.tar")
    why = skipped(store)
    assert len(store) == 2 and len(why) == 3
    assert all("without --sparse" in why[name] for name in why if name.endswith("4.png"))
    assert sum("--hard-dereference" in reason for reason in why.values()) == 2


def test_a_disk_that_takes_two_labels_for_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: with the folder a/ there is A/."""
    with StoreWriter(tmp_path / "store", Canvas(), Alphabet.of("Aa"), {}) as writer:
        images = np.full((2, 64, 64), 9, np.uint8)
        writer.append(images, [Sample("A", "A", "real"), Sample("a", "a", "real")])
    made = Path.mkdir

    def folding(self: Path, *more: Any, **kind: Any) -> None:
        made(self, *more, **kind)
        if self.name == "A":
            made(self.with_name("a"))

    monkeypatch.setattr(Path, "mkdir", folding)
    with pytest.raises(InputError, match="a: this disk takes it for the folder of another label"):
        export_store(Store.open(tmp_path / "store"), "folder", tmp_path / "out")
    assert not (tmp_path / "out").exists()
