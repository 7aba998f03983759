"""Public sets in small, on disk as torchvision leaves them, through the command."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import numpy as np
import pytest
from conftest import draw_strokes
from PIL import Image
from torchvision import datasets

from synth.canvas import Canvas, normalise
from synth.command import run
from synth.errors import InputError
from synth.public_sets import SUBSETS, chosen_subset, public_set
from synth.store import Store

Command = Callable[..., Store | str]


def idx(array: np.ndarray) -> bytes:
    """uint8 or int32 of any shape."""
    code, kind = (8, ">u1") if array.dtype == np.uint8 else (12, ">i4")
    head = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(kind).tobytes()


def drawn(n: int, first: int = 0) -> np.ndarray:
    """[n, 28, 28] uint8, light on black."""
    small = [draw_strokes(first + i).resize((28, 28)) for i in range(n)]
    return 255 - np.stack([np.asarray(image) for image in small])


def write(raw: Path, stem: str, images: np.ndarray, numbers: list[int]) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
    (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.array(numbers, np.uint8)))


@pytest.fixture
def command(
    load_script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    """command("KMNIST", ...) -> the store, or the one line of the error."""
    script = load_script("import_data")

    def command(name: str, *more: object) -> Store | str:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        words = ["--torchvision", name, "--root", tmp_path / "root", "--out", out, "--workers", 1]
        code = run(script.options(), script.main, [str(word) for word in (*words, *more)])
        error = capsys.readouterr().err
        if code == 0:
            return Store.open(out)
        assert code == 2 and not out.exists()
        return error.strip().splitlines()[-1]

    return command


def shown(store: Store) -> dict[int, tuple[str, np.ndarray]]:
    """Number of an image in its file -> its label, and its image in the store."""
    origins, labels = store.column("origin"), store.column("label")
    return {
        int(origin.split("#")[1]): (label, np.asarray(image))
        for origin, label, image in zip(origins, labels, store.images, strict=True)
    }


# ---- idx files ----


@pytest.mark.parametrize(
    "subset, numbers, chars",
    [
        ("balanced", [0, 9, 10, 35, 36, 46], "09AZat"),
        ("bymerge", [0, 9, 10, 35, 38, 43], "09AZdn"),
        ("byclass", [0, 9, 10, 35, 36, 61], "09AZaz"),
        ("letters", [1, 2, 25, 26], "ABYZ"),
        ("digits", [0, 4, 9], "049"),
        ("mnist", [0, 4, 9], "049"),
    ],
)
def test_emnist(
    subset: str, numbers: list[int], chars: str, command: Command, tmp_path: Path
) -> None:
    """Against torchvision's own reading and names, turned upright."""
    images = drawn(len(numbers))
    raw = tmp_path / "root" / "EMNIST" / "raw"
    write(raw, f"emnist-{subset}-train", images.transpose(0, 2, 1), numbers)
    found = shown(command("EMNIST", "--subset", subset))
    theirs = datasets.EMNIST(tmp_path / "root", split=subset, train=True)
    for i, char in enumerate(chars):
        label, image = found[i]
        assert label == char
        picture, number = theirs[i]
        assert theirs.classes[number].upper() == label.upper()
        upright = Image.fromarray(np.asarray(picture).T)
        np.testing.assert_array_equal(image, normalise(upright, Canvas()))


def test_every_class_of_emnist_is_torchvisions(tmp_path: Path) -> None:
    for subset in SUBSETS["EMNIST"]:
        write(tmp_path / "EMNIST" / "raw", f"emnist-{subset}-test", drawn(1), [1])
        ours = public_set("EMNIST", tmp_path, subset, True, None, "error").classes.of
        theirs = datasets.EMNIST(tmp_path, split=subset, train=False).classes
        named = {str(i): c for i, c in enumerate(theirs) if c != "N/A"}
        # letters in one are named by the small one there, by the capital in the set's own file
        assert ours == ({i: c.upper() for i, c in named.items()} if subset == "letters" else named)


def test_kmnist_training_and_test_images(command: Command, tmp_path: Path) -> None:
    raw = tmp_path / "root" / "KMNIST" / "raw"
    write(raw, "train", drawn(10), list(range(10)))
    write(raw, "t10k", drawn(3, first=50), [9, 0, 4])
    found = shown(command("KMNIST", "--val-share", 0))
    assert "".join(found[i][0] for i in range(10)) == "おきすつなはまやれを"
    test = command("KMNIST", "--split", "test")
    assert [shown(test)[i][0] for i in range(3)] == ["を", "お", "な"]
    assert set(test.column("split")) == {"test"}
    assert test.info["made"]["images"].endswith("KMNIST/raw/t10k-images-idx3-ubyte")
    # names of one's own
    assert shown(command("KMNIST", "--classes", "0123456789"))[3][0] == "3"


def test_qmnist_has_the_class_first_of_eight_numbers(command: Command, tmp_path: Path) -> None:
    raw = tmp_path / "root" / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    table = np.arange(24, dtype=np.int32).reshape(3, 8) + 1000
    table[:, 0] = [7, 0, 3]
    (raw / "qmnist-train-images-idx3-ubyte").write_bytes(idx(drawn(3)))
    labels = raw / "qmnist-train-labels-idx2-int"
    labels.write_bytes(idx(table))
    found = shown(command("QMNIST"))
    theirs = datasets.QMNIST(tmp_path / "root", train=True)
    assert [found[i][0] for i in range(3)] == [str(theirs[i][1]) for i in range(3)] == list("703")
    labels.write_bytes(idx(table)[:-1])
    assert "damaged" in command("QMNIST")
    labels.write_bytes(idx(np.array([7, 0, 3], np.uint8)))
    assert "no idx file of 2 dimensions" in command("QMNIST")


def test_what_is_not_there_is_said_with_the_way_to_get_it(command: Command, tmp_path: Path) -> None:
    for name, place in (
        ("EMNIST", "EMNIST/raw/emnist-balanced-train-images-idx3-ubyte"),
        ("KMNIST", "KMNIST/raw/train-images-idx3-ubyte"),
        ("QMNIST", "QMNIST/raw/qmnist-train-images-idx3-ubyte"),
        ("Omniglot", "omniglot-py/images_background"),
    ):
        error = command(name)
        assert str(tmp_path / "root" / place) in error and "--download" in error
    assert "has balanced, bymerge" in command("EMNIST", "--subset", "capitals")
    assert "is one whole" in command("KMNIST", "--subset", "balanced")
    assert "without IMAGES" in command("KMNIST", "--export", "folder")
    assert chosen_subset("EMNIST", None) == "balanced"


def test_options_that_miss_their_other_half(
    load_script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("import_data")
    for words, told in (
        ([], "give IMAGES, or --torchvision"),
        (["images", "--root", "x"], "go with --torchvision"),
        (["images", "--download"], "go with --torchvision"),
        (["--torchvision", "KMNIST"], "goes with --root"),
        (["images", "--torchvision", "KMNIST", "--root", "x"], "without IMAGES"),
    ):
        out = ["--out", str(tmp_path / "out")]
        assert run(script.options(), script.main, [*words, *out]) == 2
        assert told in capsys.readouterr().err


# ---- Omniglot ----


@pytest.fixture
def omniglot(tmp_path: Path) -> Path:
    """Two alphabets of two characters, four images of each; and the names of three."""
    folder = tmp_path / "root" / "omniglot-py" / "images_background"
    for i, name in enumerate(("Greek/character01", "Greek/character02", "Tifinagh/character01")):
        for j in range(4):
            file = folder / name / f"{i:04d}_{j:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            draw_strokes(10 * i + j, 105).convert("1").save(file)
    (tmp_path / "names.txt").write_text("Greek/character01,α\nGreek/character02,β\n", "utf-8")
    return folder


def test_omniglot_by_names_of_its_folders(omniglot: Path, command: Command, tmp_path: Path) -> None:
    names = ("--classes", tmp_path / "names.txt")
    assert "such as Greek/character01" in command("Omniglot")
    assert "2 of 3 folders, not Tifinagh/character01" in command("Omniglot", *names)
    store = command("Omniglot", *names, "--outside", "other", "--val-share", 0)
    assert store.alphabet.chars == ("α", "β")
    assert store.info["counts"] == {"train": {"α": 4, "β": 4, "other": 4}}
    (tmp_path / "names.txt").write_text(
        "Greek/character01,α\nGreek/character02,β\nTifinagh/character01,ⴰ\n", "utf-8"
    )
    assert len(command("Omniglot", *names).alphabet) == 3
    with pytest.raises(InputError, match="background, evaluation"):
        chosen_subset("Omniglot", "test")


# ---- fetching ----


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that it is served at, in place of the sets' own."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_torchvision_fetches_what_is_not_there(
    served: tuple[Path, str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own code, with another address and the sums of small files."""
    folder, address = served
    resources = []
    for stem, first in (("train", 0), ("t10k", 50)):
        for kind, array in (
            ("images-idx3", drawn(4, first)),
            ("labels-idx1", np.arange(4, dtype=np.uint8)),
        ):
            data = gzip.compress(idx(array), mtime=0)
            name = f"{stem}-{kind}-ubyte.gz"
            (folder / name).write_bytes(data)
            resources.append((name, hashlib.md5(data).hexdigest()))
    monkeypatch.setattr(datasets.KMNIST, "mirrors", [f"{address}/"])
    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    store = command("KMNIST", "--download", "--val-share", 0)
    assert sorted(store.column("label")) == sorted("おきすつ")
    for file in folder.iterdir():
        file.unlink()
    assert len(command("KMNIST", "--download", "--split", "test")) == 4  # there already

    gone = [(f"{address}/x-idx3-ubyte.gz", "0"), (f"{address}/y-idx2-int.gz", "0")]
    monkeypatch.setattr(datasets.QMNIST, "resources", {"train": gone})
    assert "--download: torchvision could not fetch QMNIST" in command("QMNIST", "--download")


def test_omniglot_is_fetched_as_a_zip(
    served: tuple[Path, str],
    omniglot: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, address = served
    with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
        for file in sorted(omniglot.rglob("*.png")):
            archive.write(file, f"images_background/{file.relative_to(omniglot).as_posix()}")
            file.unlink()
    data = (folder / "images_background.zip").read_bytes()
    sums = {"images_background": hashlib.md5(data).hexdigest()}
    monkeypatch.setattr(datasets.Omniglot, "download_url_prefix", address)
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", sums)
    words = ("--classes", tmp_path / "names.txt", "--outside", "other", "--download")
    assert len(command("Omniglot", *words)) == 12


def test_a_packed_file_of_nothing_is_refused_before_it_is_unpacked(
    command: Command, tmp_path: Path
) -> None:
    """8 MB of it once took 8 GiB of memory; here a small part of one that says so."""
    raw = tmp_path / "root" / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 64, 64)
    with gzip.open(raw / "emnist-digits-train-images-idx3-ubyte.gz", "wb") as file:
        file.write(head + bytes(2**22))
    with gzip.open(raw / "emnist-digits-train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**20) + bytes(2**20))
    said = command("EMNIST", "--subset", "digits")
    assert isinstance(said, str) and f"the limit is {2**26} bytes" in said
