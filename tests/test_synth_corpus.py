"""Every layout gives the same store; bad files, labels and archives end as the module says."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import CHARS, draw_strokes, write_images
from PIL import Image

from synth import corpus, format_folder, spool
from synth.alphabet import Alphabet
from synth.canvas import Canvas, normalise
from synth.corpus import decode, import_images, open_image
from synth.errors import InputError
from synth.export import export_store
from synth.found import Listing
from synth.splits import choose_splits, rejoin
from synth.store import Store

CANVAS = Canvas(size_px=32, margin_px=2)
ALPHABET = Alphabet.of(CHARS)


def do_import(images: Path, alphabet: Alphabet | None = ALPHABET, **options: object) -> Store:
    """Into a new name beside the images."""
    number = len(list(images.parent.glob("store*")))
    return import_images(images, images.parent / f"store{number}", alphabet, CANVAS, **options)


def by_origin(store: Store) -> dict[str, dict]:
    return {row["origin"]: row | {"i": i} for i, row in enumerate(store.table.to_pylist())}


def encoded(image: Image.Image, suffix: str = "png", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


def nothing_left(folder: Path) -> bool:
    return not [p for p in folder.iterdir() if "store" in p.name]


# ---- layouts ----


def test_folder_per_class(image_folder: Path) -> None:
    store = do_import(image_folder)
    rows = by_origin(store)
    files = sorted(p.relative_to(image_folder).as_posix() for p in image_folder.rglob("*.png"))
    assert sorted(rows) == files
    assert store.alphabet == ALPHABET
    for origin, row in rows.items():
        label = origin.split("/")[0]
        image = normalise(Image.open(image_folder / origin), CANVAS)
        assert np.array_equal(store.images[row["i"]], image)
        assert row["sha256"] == hashlib.sha256(image.tobytes()).hexdigest()
        assert (row["label"], row["source"], row["record"]) == (label, "real", "")
        assert row["char"] == ("" if label == "other" else label)
        assert row["kind"] == ("unknown" if label == "other" else "character")
    order = [(r["label"], os.fsencode(r["origin"])) for r in store.table.to_pylist()]
    assert order == sorted(order)


def test_without_an_alphabet_the_labels_found(image_folder: Path) -> None:
    assert do_import(image_folder, alphabet=None).alphabet == ALPHABET
    only_other = write_images(image_folder.parent / "o", {"other": 2})
    with pytest.raises(InputError, match=r"only images of 'other'.*--alphabet"):
        do_import(only_other, alphabet=None)


def test_a_character_without_an_image_is_fine(image_folder: Path) -> None:
    store = do_import(image_folder, alphabet=Alphabet.of(CHARS + "鑫"))
    assert "鑫" in store.alphabet
    assert "鑫" not in store.info["counts"]["train"]


def write_flat(image_folder: Path, flat: Path) -> None:
    flat.mkdir()
    for i, file in enumerate(sorted(image_folder.rglob("*.png"))):
        (flat / f"w_{i:04d}_{file.parent.name}.png").write_bytes(file.read_bytes())


def same_images(a: Store, b: Store) -> None:
    def rows(store: Store) -> list[tuple]:
        return sorted((r["label"], r["sha256"], r["split"]) for r in store.table.to_pylist())

    assert rows(a) == rows(b)
    assert len(a) == len(b) > 0


def test_flat_files_hold_their_label_in_the_name(image_folder: Path) -> None:
    flat = image_folder.parent / "flat"
    write_flat(image_folder, flat)
    (flat / "7__.png").write_bytes(encoded(draw_strokes(900)))  # the label "_"
    alphabet = Alphabet.of([*CHARS, "_"])
    store = do_import(flat, alphabet)
    assert by_origin(store)["7__.png"]["label"] == "_"
    (flat / "7__.png").unlink()
    same_images(do_import(flat, alphabet), do_import(image_folder, alphabet))


def zip_of(folder: Path, file: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return file


@pytest.mark.parametrize("prefix", ["", "set/", "a b/train/"])
def test_zip_of_either(image_folder: Path, prefix: str) -> None:
    flat = image_folder.parent / "flat"
    write_flat(image_folder, flat)
    wanted = do_import(image_folder)
    before = set(image_folder.parent.iterdir())
    for name, folder in (("classes.zip", image_folder), ("flat.zip", flat)):
        file = zip_of(folder, image_folder.parent / name, prefix)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("__MACOSX/永/._001.png", b"junk")
            archive.writestr(f"{prefix}永/.DS_Store", b"junk")
            archive.writestr(f"{prefix}README.txt", b"words")
        store = do_import(file)
        same_images(store, wanted)
        assert store.info["notes"]["ignored_files"] == 1
        assert all(origin.startswith(prefix) for origin in by_origin(store))
    new = {p.name for p in set(image_folder.parent.iterdir()) - before}
    assert new == {"classes.zip", "flat.zip", "store1", "store2"}  # nothing was extracted


def test_zip_with_utf8_names_that_do_not_say_so(tmp_path: Path) -> None:
    """Finder and some builds of zip leave the flag out."""
    folder = write_images(tmp_path / "images", {"永": 2})
    data = zip_of(folder, tmp_path / "a.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(i.flag_bits & 0x800 for i in archive.infolist())
    data = bytearray(data)
    for signature, flag in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = data.find(signature)
        while at >= 0:
            data[at + flag] &= ~0x08
            at = data.find(signature, at + 1)
    (tmp_path / "a.zip").write_bytes(data)
    assert set(by_origin(do_import(tmp_path / "a.zip"))) == {"永/000.png", "永/001.png"}


def gnt_sample(tag: bytes, image: Image.Image) -> bytes:
    bitmap = image.tobytes()
    head = struct.pack("<I2sHH", 10 + len(bitmap), tag, image.width, image.height)
    return head + bitmap


def write_gnt(file: Path, text: str, first_seed: int) -> list[tuple[str, Image.Image]]:
    wanted = [(c, draw_strokes(first_seed + i, 50 + i)) for i, c in enumerate(text)]
    tags = [c.encode("gbk").ljust(2, b"\0") for c, _ in wanted]
    file.write_bytes(b"".join(gnt_sample(t, i) for t, (_, i) in zip(tags, wanted, strict=True)))
    return wanted


def test_gnt_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "gnt"
    folder.mkdir()
    wanted = {
        name: write_gnt(folder / name, text, seed)
        for seed, (name, text) in enumerate([("1001.gnt", "永國A永"), ("1002.GNT", "三!")])
    }
    store = do_import(folder, None)
    assert store.alphabet.chars == tuple(sorted("永國A三!"))
    rows = by_origin(store)
    assert len(rows) == 6
    for name, samples in wanted.items():
        for number, (char, image) in enumerate(samples, 1):
            row = rows[f"{name}#{number:06d}"]
            assert row["label"] == row["char"] == char
            assert np.array_equal(store.images[row["i"]], normalise(image, CANVAS))
    assert len(do_import(folder / "1002.GNT", None)) == 2


def test_damaged_gnt_files(tmp_path: Path) -> None:
    folder = tmp_path / "gnt"
    folder.mkdir()
    write_gnt(folder / "a.gnt", "永國", 0)
    whole = (folder / "a.gnt").read_bytes()
    for keep in (-1, -2600, len(whole) // 2 + 40):  # in the second bitmap or its header
        (folder / "a.gnt").write_bytes(whole[:keep])
        store = do_import(folder)
        assert set(by_origin(store)) == {"a.gnt#000001"}
        assert "cut" in store.info["notes"]["skipped"]["a.gnt#000002"]
    bad_tag = gnt_sample(b"\xff\xff", draw_strokes(9))
    (folder / "a.gnt").write_bytes(bad_tag + whole)
    notes = do_import(folder).info["notes"]
    assert notes["skipped"] == {"a.gnt#000001": "its tag ffff is no character in GBK"}
    for content in (b"", b"\0" * 100, whole[:40], bad_tag):
        (folder / "a.gnt").write_bytes(content)
        with pytest.raises(InputError, match="no character in its"):
            do_import(folder)


def test_links_are_followed_but_not_in_circles(image_folder: Path) -> None:
    top = image_folder.parent / "linked"
    top.mkdir()
    for char in CHARS:
        (top / char).symlink_to(image_folder / char, target_is_directory=True)
    (image_folder / "永" / "up").symlink_to(top, target_is_directory=True)
    (image_folder / "永" / "lost.png").symlink_to("nowhere.png")
    os.mkfifo(image_folder / "永" / "pipe.png")  # reading it would wait for ever
    store = do_import(top)
    assert len(store) == 37
    assert store.info["notes"]["skipped"] == {"永/lost.png": "a link that leads nowhere"}


def test_links_that_lead_nowhere_are_listed_whatever_their_name(image_folder: Path) -> None:
    """One without an ending may stand for the folder of a class."""
    (image_folder / "永" / "lost.png").symlink_to("nowhere.png")
    (image_folder / "永" / "loop.jpg").symlink_to("loop.jpg")
    (image_folder / "火").symlink_to("gone")
    (image_folder / ".hidden").symlink_to("gone")
    notes = do_import(image_folder).info["notes"]
    names = ["永/lost.png", "永/loop.jpg", "火"]
    assert notes["skipped"] == dict.fromkeys(sorted(names), "a link that leads nowhere")
    assert notes["ignored_files"] == 0


def test_a_folder_of_lost_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images" / "永").mkdir(parents=True)
    (tmp_path / "images" / "永" / "1.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match="nothing but links that lead nowhere; wanted"):
        do_import(tmp_path / "images")
    assert nothing_left(tmp_path)


def test_a_folder_that_may_not_be_read_is_an_error(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a store without that class. Made up, since root may read everything."""
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "國":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"/國: a folder that cannot be read \(Perm"):
        do_import(image_folder)
    assert nothing_left(image_folder.parent)


# ---- labels ----


def test_decomposed_folder_names_are_the_same_class(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", {"が": 3})
    write_images(folder, {unicodedata.normalize("NFD", "が"): 2}, first_seed=50)
    assert len(list(folder.iterdir())) == 2
    store = do_import(folder, Alphabet.of("が"))
    assert set(store.column("label")) == {"が"}
    assert len(store) == 5


def test_a_label_outside_the_alphabet(image_folder: Path) -> None:
    small = Alphabet.of("永國")
    with pytest.raises(InputError) as caught:
        do_import(image_folder, small)
    for part in ("三/000.png", "7 images of 2 such labels: 三銀", "--outside other"):
        assert part in str(caught.value)
    assert nothing_left(image_folder.parent)
    store = do_import(image_folder, small, outside="other")
    rows = by_origin(store)
    assert (rows["三/000.png"]["label"], rows["三/000.png"]["char"]) == ("other", "三")
    assert rows["other/000.png"]["char"] == ""
    assert sum(of["other"] for of in store.info["counts"].values()) == 17
    order = [(r["label"], os.fsencode(r["origin"])) for r in store.table.to_pylist()]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["永/1.png", "永國/1.png"], "folder '永國'.*not one character"),
        (["永/1.png", "a\u200bb/1.png"], r"U\+200B"),
        (["train/永/1.png", "test/永/1.png"], r"folder 'test'.*images/test, .*images/train"),
        (["永/1.png", "loose_永.png"], r"others do not \(loose_永\.png\)"),
        (["1_永.png", "words.png"], "file 'words.png'.*<id>_<label>"),
        (["1_永.png", "2_.png"], "file '2_.png'"),
        (["1_永國.png"], "file '1_永國.png'.*not one character"),
    ],
)
def test_names_that_are_no_label(tmp_path: Path, names: list[str], words: str) -> None:
    for i, name in enumerate(names):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draw_strokes(i).save(file)
    with pytest.raises(InputError, match=words) as caught:
        do_import(tmp_path / "images", None)
    assert str(tmp_path / "images") in str(caught.value)
    assert nothing_left(tmp_path)


def test_a_folder_name_that_is_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_images(folder, {"永": 1})
    os.mkdir(os.fsencode(folder) + b"/\xa5\xc3")  # noqa: PTH102  Path takes no bytes
    draw_strokes(3).save(Path(os.fsdecode(os.fsencode(folder) + b"/\xa5\xc3/1.png")))
    with pytest.raises(InputError, match="folder") as caught:
        do_import(folder)
    str(caught.value).encode()  # can be printed
    os.rename(os.fsencode(folder) + b"/\xa5\xc3", folder / "國")  # noqa: PTH104
    os.rename(folder / "國" / "1.png", os.fsencode(folder / "國") + b"/\xa5.png")  # noqa: PTH104
    assert "國/\\udca5.png" in by_origin(do_import(folder))


# ---- nothing to import ----


def test_a_path_to_the_images_that_is_no_utf8(image_folder: Path, tmp_path: Path) -> None:
    """Whoever made the folder did not write UTF-8; the store tells its name with escapes."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff"))
    image_folder.rename(odd)
    store = do_import(odd)
    assert len(store) == 47
    assert store.info["made"]["images"] == f"{tmp_path}/odd\\udcff"


def test_nothing_there(tmp_path: Path) -> None:
    images = tmp_path / "images"
    with pytest.raises(InputError, match="no such folder or file"):
        do_import(images)
    images.mkdir()
    with pytest.raises(InputError, match="folder is empty"):
        do_import(images)
    (images / "永").mkdir()
    with pytest.raises(InputError, match="folder is empty"):
        do_import(images)
    (images / "永" / "notes.txt").write_text("words")
    with pytest.raises(InputError, match=r"no image in it \(\.png, .*\.webp\)"):
        do_import(images)
    (images / "1.gnt").write_bytes(b"")
    draw_strokes(0).save(images / "永" / "1.png")
    with pytest.raises(InputError, match=r"both images and \.gnt"):
        do_import(images)
    with pytest.raises(InputError, match=r"neither a folder nor a .zip nor a .gnt"):
        do_import(images / "永" / "1.png")
    assert nothing_left(tmp_path)
    assert nothing_left(images / "永")


def test_output_is_never_overwritten(image_folder: Path) -> None:
    out = do_import(image_folder).path
    before = (out / "images.npy").read_bytes()
    with pytest.raises(InputError, match=r"finished store is there already.*--out"):
        import_images(image_folder, out, ALPHABET, CANVAS)
    assert (out / "images.npy").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        {"val_share": 1.0},
        {"val_share": -0.1},
        {"val_share": float("nan")},
        {"split": "dev"},
        {"workers": 0},
        {"outside": "drop"},
    ],
)
def test_bad_options(image_folder: Path, options: dict) -> None:
    with pytest.raises(InputError, match="wanted"):
        do_import(image_folder, **options)


# ---- archives that mean harm ----


@pytest.mark.parametrize(
    "name", ["../永/1.png", "永/../../1.png", "/永/1.png", "C:/永/1.png", "永\\1.png", "..\\1.png"]
)
def test_zip_members_that_point_outside(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("永/0.png", encoded(draw_strokes(0)))
        archive.writestr(name, encoded(draw_strokes(1)))
    with pytest.raises(InputError, match="points outside the archive; refused"):
        do_import(file)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_zip_with_a_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("永/1.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="is a link; refused"):
        do_import(tmp_path / "a.zip")


def test_zip_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("永/0.png", encoded(draw_strokes(0)))
        archive.writestr("永/1.png", b"\0" * 3_000_000)
    monkeypatch.setattr(spool, "MAX_FILE_BYTES", 2**20)
    notes = do_import(tmp_path / "a.zip").info["notes"]
    assert notes["skipped"] == {"永/1.png": "3 MiB, the limit is 1"}
    monkeypatch.setattr(format_folder, "MAX_ZIP_BYTES", 2**20)
    with pytest.raises(InputError, match="GiB when unpacked, the limit is"):
        do_import(tmp_path / "a.zip")


def test_damaged_zips(tmp_path: Path) -> None:
    good, bad = encoded(draw_strokes(0)), encoded(draw_strokes(1))
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("永/0.png", good)
        archive.writestr("永/1.png", bad)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(bad, bad[:-20] + b"\0" * 20))
    notes = do_import(file).info["notes"]
    assert list(notes["skipped"]) == ["永/1.png"]
    assert "CRC" in notes["skipped"]["永/1.png"]
    file.write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"a\.zip"):
        do_import(file)
    file.write_bytes(
        bytearray(
            b ^ (0x01 if i == whole.rfind(b"PK\x01\x02") + 8 else 0) for i, b in enumerate(whole)
        )
    )
    with pytest.raises(InputError, match="encrypted"):
        do_import(file)


# ---- one image ----


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("gif", {}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
        ("jpeg", {"quality": 95}),
        ("jpeg", {"quality": 95, "progressive": True}),
        ("ppm", {}),
        ("jpeg2000", {}),
    ],
)
def test_formats_and_cut_files(suffix: str, options: dict) -> None:
    image = draw_strokes(1)
    data = encoded(image, suffix, **options)
    difference = np.abs(decode(data, CANVAS).astype(int) - normalise(image, CANVAS))
    assert difference.mean() < (3 if suffix == "jpeg" else 0.01)  # of 255
    for keep in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) * 9 // 10, len(data) - 12):
        with pytest.raises(InputError):
            open_image(data[:keep])


def test_a_png_cut_before_its_end_which_pillow_accepts() -> None:
    data = encoded(draw_strokes(1))
    cut = data[:-12]
    Image.open(io.BytesIO(cut)).load()
    with pytest.raises(InputError, match="cut"):
        open_image(cut)
    open_image(data + b"trailing bytes")


def png_of_size(width: int, height: int) -> bytes:
    """A whole PNG whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(7000, 7000), (10_000, 10_000), (60_000, 60_000)])
def test_bombs_are_refused_before_they_are_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", explode)
    with pytest.raises(InputError, match="pixels, the limit is 40000000"):
        open_image(png_of_size(*size))


@pytest.mark.parametrize(
    "data", [b"", b"words", b"%PDF-1.4\n", b"<svg xmlns='x'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_no_image(data: bytes) -> None:
    with pytest.raises(InputError, match=r"not an image|empty file"):
        open_image(data)


def test_exif_orientation_is_applied() -> None:
    image = draw_strokes(1).resize((60, 90))
    turned = image.transpose(Image.Transpose.ROTATE_90)  # what a camera held sideways stores
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(np.asarray(open_image(encoded(turned, "png", exif=exif))), image)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_an_animation(suffix: str) -> None:
    frames = [draw_strokes(i).convert("RGB") for i in (1, 2, 3)]
    lossless = {"lossless": True} if suffix == "webp" else {}
    data = encoded(frames[0], suffix, save_all=True, append_images=frames[1:], **lossless)
    assert np.abs(decode(data, CANVAS).astype(int) - normalise(frames[0], CANVAS)).max() <= 2


# ---- bad images among good ones ----


def test_unreadable_among_good(image_folder: Path) -> None:
    folder = image_folder / "永"
    (folder / "a.png").write_bytes(b"words")
    (folder / "b.jpg").write_bytes(encoded(draw_strokes(700), "jpeg")[:-300])
    (folder / "c.png").write_bytes(b"")
    (folder / "d.PNG").write_bytes(png_of_size(7000, 7000))
    Image.new("L", (40, 40), 250).save(folder / "e.png")
    Image.new("L", (40, 40), 250).save(image_folder / "other" / "blank.png")
    (folder / "notes.txt").write_text("words")
    store = do_import(image_folder)
    notes = store.info["notes"]
    assert notes["skipped"] == {
        "永/a.png": "not an image",
        "永/b.jpg": notes["skipped"]["永/b.jpg"],
        "永/c.png": "empty file",
        "永/d.PNG": "7000 x 7000 pixels, the limit is 40000000",
        "永/e.png": "blank",
    }
    assert "truncated" in notes["skipped"]["永/b.jpg"]
    assert notes["ignored_files"] == 1
    assert len(store) == 48
    assert not store.images[by_origin(store)["other/blank.png"]["i"]].any()


@pytest.mark.parametrize("zipped", [False, True])
def test_images_of_formats_that_are_not_read_are_listed(image_folder: Path, zipped: bool) -> None:
    for name in ("永/a.heic", "永/b.AVIF", "國/c.svg"):
        (image_folder / name).write_bytes(b"whatever")
    (image_folder / "永" / "notes.txt").write_text("words")

    def given() -> Path:
        return zip_of(image_folder, image_folder.parent / "i.zip") if zipped else image_folder

    notes = do_import(given()).info["notes"]
    assert notes["ignored_files"] == 1 and list(notes["skipped"]) == [
        "國/c.svg", "永/a.heic", "永/b.AVIF"
    ]  # fmt: skip
    assert notes["skipped"]["永/b.AVIF"] == (
        "an image of a format that is not read (.avif); save it as PNG"
    )
    for file in image_folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(InputError, match=r"none of its 3 images can be read; first: .*save it as"):
        do_import(given())


def test_a_file_that_may_not_be_read(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        if path.name == "003.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", refuse)
    skipped = do_import(image_folder).info["notes"]["skipped"]
    assert skipped["永/003.png"] == "cannot be read (Permission denied)"


def test_all_unreadable_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "images" / "永").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "images" / "永" / f"{i}.png").write_bytes(b"words")
    with pytest.raises(InputError, match=r"none of its 3 images.*永/0\.png: not an image"):
        do_import(tmp_path / "images")
    Image.new("L", (9, 9)).save(tmp_path / "images" / "永" / "0.png")
    with pytest.raises(InputError, match="blank"):
        do_import(tmp_path / "images")
    assert nothing_left(tmp_path)


# ---- duplicates ----


def test_duplicates_and_label_conflicts(image_folder: Path) -> None:
    one = (image_folder / "永" / "005.png").read_bytes()
    (image_folder / "永" / "copy.png").write_bytes(one)
    draw = Image.open(image_folder / "永" / "006.png")
    draw.convert("RGBA").save(image_folder / "永" / "same_pixels.png")
    for i in range(5):  # filed under two characters
        data = (image_folder / "國" / f"00{i}.png").read_bytes()
        (image_folder / "永" / f"wrong{i}.png").write_bytes(data)
    for seed in range(3):
        store = do_import(image_folder, val_share=0.5, seed=seed)
        notes = store.info["notes"]
        assert notes["duplicates"] == {
            "永/copy.png": "永/005.png",
            "永/same_pixels.png": "永/006.png",
        }
        assert notes["label_conflicts"] == [
            {f"國/00{i}.png": "國", f"永/wrong{i}.png": "永"} for i in range(5)
        ]
        splits: dict[str, set[str]] = {}
        for row in store.table.to_pylist():
            splits.setdefault(row["sha256"], set()).add(row["split"])
        assert all(len(of) == 1 for of in splits.values())
        assert len(store) == 52
        assert store.info["counts"]["val"]["永"] == round(25 * 0.5)
        assert store.info["counts"]["val"]["國"] == 5  # the five that have one label


# ---- splits ----


def test_split_sizes_per_class(image_folder: Path) -> None:
    counts = do_import(image_folder).info["counts"]
    assert counts["val"] == {"永": 2, "國": 1, "other": 1}
    assert counts["train"] == {"永": 18, "國": 9, "銀": 5, "三": 2, "other": 9}
    assert "val" not in do_import(image_folder, val_share=0).info["counts"]


def split_of_content(store: Store) -> dict[str, str]:
    return dict(zip(store.column("sha256"), store.column("split"), strict=True))


def test_splits_depend_on_content_and_seed_not_on_names(image_folder: Path) -> None:
    first = split_of_content(do_import(image_folder))
    for folder in image_folder.iterdir():
        files = sorted(folder.iterdir())
        for i, file in enumerate(files):
            file.rename(folder / f"renamed{(i * 7) % len(files):03d}.png")
    assert split_of_content(do_import(image_folder)) == first
    assert split_of_content(do_import(image_folder, seed=1)) != first
    # one image more moves none of the others but where the count asks for it
    draw_strokes(999).save(image_folder / "永" / "more.png")
    more = split_of_content(do_import(image_folder))
    assert sum(more[sha] != split for sha, split in first.items()) <= 1


def test_every_image_is_as_likely_to_be_chosen(tmp_path: Path) -> None:
    """Over 60 seeds, 25 of 50 images: each is chosen 30 times, within 4.5 sigma."""
    labels, hashes = ["永"] * 50, [hashlib.sha256(bytes([i])).hexdigest() for i in range(50)]
    chosen = np.array(
        [[s == "val" for s in choose_splits(labels, hashes, None, 0.5, n)] for n in range(60)]
    )
    assert (chosen.sum(1) == 25).all()
    assert np.abs(chosen.sum(0) - 30).max() < 4.5 * np.sqrt(60 * 0.25)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_all_into_one_split(image_folder: Path, split: str) -> None:
    assert set(do_import(image_folder, split=split).column("split")) == {split}


# ---- workers ----


def test_any_number_of_workers_gives_the_same_bytes(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK_IMAGES", 5)
    monkeypatch.setattr(corpus, "APPEND_IMAGES", 7)
    (image_folder / "永" / "a.png").write_bytes(b"words")
    one, two = do_import(image_folder, workers=1), do_import(image_folder, workers=2)
    for name in ("images.npy", "samples.parquet", "store.json"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    assert len(one) == 47


# ---- what the review found ----


def test_two_files_that_print_as_one_keep_their_own_labels_and_pixels(image_folder: Path) -> None:
    """A name that is no UTF-8 is shown with an escape, which may be another file's real name."""
    bad = os.fsencode(image_folder / "永") + b"/\xff.png"
    with open(bad, "wb") as f:  # noqa: PTH123  bytes
        f.write(b"words")
    good = image_folder / "永" / "\\udcff.png"
    draw_strokes(801).save(good)
    store = do_import(image_folder)
    assert list(store.info["notes"]["skipped"]) == ["永/\\udcff.png"] and len(store) == 48
    row = by_origin(store)["永/\\udcff.png"]
    image = decode(good.read_bytes(), CANVAS)
    assert (store.images[row["i"]] == image).all()
    for label in CHARS:  # and every other image stands beside its own label
        for file in (image_folder / label).glob("00*.png"):
            at = by_origin(store)[f"{label}/{file.name}"]["i"]
            assert (store.images[at] == decode(file.read_bytes(), CANVAS)).all()


def test_nothing_listed_is_nothing_decoded(tmp_path: Path) -> None:
    listing = Listing([], lambda one: b"", {}, 0)
    with (tmp_path / "spool").open("w+b") as file:
        pixels, good, skipped = spool.spool_images(listing, [], CANVAS, False, 4, file)
    assert pixels.shape == (0, 32, 32) and good.shape == (0,) and skipped == {}


def test_a_picture_in_several_splits_goes_into_one() -> None:
    hashes = ["a", "a", "b", "b", "c", "d", "d"]
    splits = ["train", "val", "val", "test", "val", "val", "val"]
    wanted = ["train", "train", "test", "test", "val", "val", "val"]
    assert rejoin(hashes, splits, [True] * 7) == wanted
    assert rejoin(hashes, splits, [False] * 7) == splits  # drawn blanks, say, are all alike
    assert rejoin(hashes, splits, [True, False, *[True] * 5]) == ["train", "val", *wanted[2:]]


def test_an_export_with_a_picture_under_two_labels_in_train_and_val(image_folder: Path) -> None:
    store = do_import(image_folder, val_share=0.3)
    folder = image_folder.parent / "exported"
    export_store(store, "folder", folder)
    row = next(r for r in by_origin(store).values() if r["split"] == "val" and r["label"] == "永")
    again = next(
        r for r in by_origin(store).values() if r["label"] == "國" and r["split"] == "train"
    )
    image, copy = (folder / r["label"] / f"{r['i']:07d}.png" for r in (row, again))
    copy.write_bytes(image.read_bytes())  # one picture, two labels, and a split each
    back = do_import(folder, as_is=True)
    twice = [r for r in back.table.to_pylist() if r["sha256"] == row["sha256"]]
    assert [(r["label"], r["split"]) for r in twice] == [("國", "train"), ("永", "train")]
    assert back.info["counts"]["val"]["永"] == store.info["counts"]["val"]["永"] - 1
