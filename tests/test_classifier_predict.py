"""Tables of answers: the same pixels as an import gives, in every format, whatever the image."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import draw_strokes
from PIL import Image
from toy_model import ALPHABET, CROSS, LINES, drawing, write_toy_model

from classifier.predict import CHUNK, find_images, open_model, predict_files, read_files
from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.decode import SUFFIXES
from synth.errors import InputError
from synth.store import Sample, StoreWriter


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


def rows_of(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as f:
        return list(csv.DictReader(f))


def variants(image: Image.Image) -> dict[str, Image.Image]:
    """One drawing in every mode and polarity that a user may have it in."""
    gray = np.asarray(image)
    ink = Image.fromarray(255 - gray)
    clear = Image.new("RGBA", image.size, (0, 0, 0, 0))
    clear.putalpha(ink)
    wide = Image.new("L", (image.width * 2, image.height), 200)
    wide.paste(image.point(lambda v: v * 200 // 255), (image.width // 2, 0))
    return {
        "L.png": image,
        "inverted.png": ink,
        "1.png": image.convert("1"),
        "P.gif": image.convert("P"),
        "LA.png": image.convert("LA"),
        "RGB.jpg": image.convert("RGB"),
        "RGB.webp": image.convert("RGB"),
        "RGBA.png": image.convert("RGBA"),
        "transparent.png": clear,
        "CMYK.tif": image.convert("CMYK"),
        "I16.png": Image.fromarray(gray.astype(np.uint16) * 257),
        "F.tif": Image.fromarray(gray.astype(np.float32) / 255),
        "LAB.tif": image.convert("RGB").convert("LAB"),
        "RGB.jp2": image.convert("RGB"),
        "L.pgm": image,
        "small.bmp": image.resize((24, 24)),
        "large.png": image.resize((900, 900)),
        "wide_gray_paper.png": wide,
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("pictures")
    for char, strokes in LINES.items():
        (top / char).mkdir()
        for name, image in variants(drawing(strokes)).items():
            image.save(top / char / name)
    return top


def test_predicting_decodes_exactly_as_an_import_does(tmp_path):
    """Pixel by pixel, over modes, sizes, polarities and formats; each image another drawing, for an
    import drops doubles."""
    names = list(variants(draw_strokes(0)))
    for number, char in enumerate(LINES):
        (tmp_path / "images" / char).mkdir(parents=True)
        for i, name in enumerate(names):
            image = variants(draw_strokes(100 * number + i))[name]
            image.save(tmp_path / "images" / char / name)
    store = import_images(tmp_path / "images", tmp_path / "store", ALPHABET, Canvas())
    files = [tmp_path / "images" / origin for origin in store.column("origin")]
    assert len(files) == len(names) * len(LINES) == 54
    read = read_files(files, Canvas())
    assert not read.broken and (read.images == store.images).all()
    assert len({image.tobytes() for image in read.images}) == 54


def test_every_variant_is_answered_alike(model, pictures, tmp_path):
    assert predict_files(model, [pictures], tmp_path / "p.csv", 1) == (54, 0)
    for row in rows_of(tmp_path / "p.csv"):
        assert row["label"] == Path(row["path"]).parent.name, row["path"]


def test_the_three_formats_say_the_same(model, pictures, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        predict_files(model, [pictures], tmp_path / f"p.{suffix}", 1, top=2)
    table = rows_of(tmp_path / "p.csv")
    lines = [json.loads(x) for x in (tmp_path / "p.jsonl").read_text("utf-8").splitlines()]
    parquet = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert len(table) == len(lines) == len(parquet) == 54
    assert list(table[0])[4:] == ["char_1", "confidence_1", "char_2", "confidence_2"]
    for a, b, c in zip(table, lines, parquet, strict=True):
        assert a["path"] == b["path"] == c["path"]
        assert a["label"] == b["label"] == c["label"]
        assert float(a["confidence"]) == b["confidence"] == pytest.approx(c["confidence"], abs=6e-5)
        assert float(a["other"]) == b["other"] == pytest.approx(c["other"], abs=6e-7)
        ranked = [[a[f"char_{k}"], float(a[f"confidence_{k}"])] for k in (1, 2)]
        assert b["top"] == ranked and ranked[0][0] != ranked[1][0]
        assert [x["char"] for x in c["top"]] == [x[0] for x in b["top"]]
        assert b["top"][0][1] >= b["top"][1][1]


def test_without_top_the_columns_are_the_four(model, pictures, tmp_path):
    predict_files(model, [pictures], tmp_path / "p.parquet", 1)
    assert pq.read_schema(tmp_path / "p.parquet").names == ["path", "label", "confidence", "other"]


def test_other_has_its_score_as_confidence(model, tmp_path):
    drawing(CROSS).save(tmp_path / "x.png")
    drawing([]).save(tmp_path / "blank.png")
    predict_files(model, [tmp_path / "x.png", tmp_path / "blank.png"], tmp_path / "p.csv", 1)
    for row in rows_of(tmp_path / "p.csv"):
        assert row["label"] == "other" and float(row["other"]) > 0.5
        assert float(row["confidence"]) == pytest.approx(float(row["other"]), abs=1e-4)


def test_what_cannot_be_read_is_listed_and_stops_nothing(model, tmp_path, monkeypatch):
    from classifier import predict as module

    good = tmp_path / "images"
    good.mkdir()
    for i in range(3):
        drawing(LINES["十"]).save(good / f"{i}.png")
    whole = (good / "0.png").read_bytes()
    (good / "cut.png").write_bytes(whole[: len(whole) // 2])
    (good / "empty.png").write_bytes(b"")
    (good / "text.jpg").write_text("no image")
    (good / "huge.png").write_bytes(whole + bytes(9000))
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 9000)
    assert predict_files(model, [good], tmp_path / "p.csv", 1) == (3, 4)
    listed = (tmp_path / "p.csv.skipped").read_text("utf-8").splitlines()
    assert [Path(x.split("\t")[0]).name for x in listed] == [
        "cut.png", "empty.png", "huge.png", "text.jpg"
    ]  # fmt: skip
    assert all(len(x.split("\t")[1]) > 5 for x in listed)
    for name in ("cut.png", "empty.png", "text.jpg", "huge.png"):
        (good / name).unlink()
    predict_files(model, [good], tmp_path / "p.csv", 1)
    assert not (tmp_path / "p.csv.skipped").exists()  # not the listing of an earlier call


def test_a_store_is_answered_row_by_row(model, tmp_path):
    from synth.canvas import normalise

    chars = [*LINES] * 3
    images = np.stack([normalise(drawing(LINES[c]), Canvas()) for c in chars])
    with StoreWriter(tmp_path / "store", Canvas(), ALPHABET, {}) as writer:
        writer.append(images, [Sample(c, c, "real") for c in chars])
    assert predict_files(model, [tmp_path / "store"], tmp_path / "p.csv", 1) == (9, 0)
    rows = rows_of(tmp_path / "p.csv")
    assert [r["label"] for r in rows] == chars
    assert [r["path"][-7:] for r in rows] == [f"#{i:06d}" for i in range(9)]
    with StoreWriter(tmp_path / "small", Canvas(32, 2), ALPHABET, {}) as writer:
        writer.append(np.zeros((1, 32, 32), np.uint8), [Sample("一", "一", "real")])
    with pytest.raises(InputError, match=r"canvas .*size_px=32.*wants .*size_px=64"):
        predict_files(model, [tmp_path / "small"], tmp_path / "q.csv", 1)


def test_more_images_than_a_chunk_by_two_processes_in_order(model, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    chars, count = [*LINES], CHUNK + 40
    for char in chars:
        drawing(LINES[char], 40, 3).save(tmp_path / f"{char}.png")
    for i in range(count):
        os.link(tmp_path / f"{chars[i % 3]}.png", folder / f"{i:04d}.png")
    predict_files(model, [folder], tmp_path / "two.csv", 2)
    predict_files(model, [folder], tmp_path / "one.csv", 1)
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    rows = rows_of(tmp_path / "two.csv")
    assert [r["label"] for r in rows] == [chars[i % 3] for i in range(count)]
    assert [Path(r["path"]).name for r in rows] == [f"{i:04d}.png" for i in range(count)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_name_that_is_no_utf8_is_escaped(model, tmp_path, suffix):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(b"")
    drawing(LINES["一"]).save(tmp_path / "good.png")
    Path(os.fsdecode(name)).write_bytes((tmp_path / "good.png").read_bytes())
    out = tmp_path / f"p.{suffix}"
    assert predict_files(model, [tmp_path], out, 1) == (2, 0)
    if suffix == "parquet":
        paths = pq.read_table(out).column("path").to_pylist()
    elif suffix == "csv":
        paths = [r["path"] for r in rows_of(out)]
    else:
        paths = [json.loads(x)["path"] for x in out.read_text("utf-8").splitlines()]
    assert any(p.endswith(r"\xff.png") for p in paths)


def test_wrong_inputs_are_one_clear_error_and_leave_nothing(model, tmp_path):
    drawing(LINES["一"]).save(tmp_path / "a.png")
    for out, top, says in (
        ("p.txt", 1, r"ends in \.csv"),
        ("", 1, "a folder"),
        ("p.csv", 0, "--top 0"),
    ):
        with pytest.raises(InputError, match=says):
            predict_files(model, [tmp_path / "a.png"], tmp_path / out, 1, top)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"?")
    assert not list(tmp_path.glob("*p.csv*"))


def test_table_and_list_are_of_the_same_call(model, tmp_path, monkeypatch):
    """Whatever an earlier call left, and wherever a later one is interrupted."""
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "p.csv"
    for folder in (good, bad):
        folder.mkdir()
        (folder / "x.png").write_bytes(b"?")
    drawing(LINES["一"]).save(good / "a.png")
    listed = tmp_path / "p.csv.skipped"
    assert predict_files(model, [good], out, 1) == (1, 1)
    with pytest.raises(InputError, match=r"none of 1 .*; first: .*not an image.*p\.csv\.skipped"):
        predict_files(model, [bad], out, 1)
    assert "bad" in listed.read_text("utf-8") and not out.exists()
    assert predict_files(model, [good / "a.png"], out, 1) == (1, 0)
    assert out.exists() and not listed.exists()
    earlier = out.read_bytes()

    def full(path, text):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("classifier.predict.write_text", full)
        with pytest.raises(OSError, match="No space"):
            predict_files(model, [good], out, 1)
    assert out.read_bytes() == earlier and not listed.exists()

    def killed(self, target):
        if target == out:
            raise KeyboardInterrupt
        return replaced(self, target)

    replaced = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            predict_files(model, [good], out, 1)
    assert not out.exists() and listed.exists()
    assert sorted(p.name for p in tmp_path.iterdir() if "p.csv" in p.name) == [listed.name]


def test_a_model_that_is_none(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.onnx"):
        open_model(tmp_path / "a.onnx")


def test_a_folder_is_searched_as_an_import_searches_it(model, tmp_path):
    """A pipe would be read for ever, what is hidden is not the user's."""
    top = tmp_path / "images"
    (top / "一" / ".thumbs").mkdir(parents=True)
    (top / "folder.png").mkdir()
    drawing(LINES["一"]).save(top / "一" / "a.PNG", "PNG")
    drawing(LINES["一"], 90).save(top / "一" / ".a.png")
    drawing(LINES["一"], 80).save(top / "一" / ".thumbs" / "b.png")
    (top / "一" / "notes.txt").write_text("words")
    os.mkfifo(top / "一" / "x.png")
    (top / "一" / "circle").symlink_to(top, target_is_directory=True)
    found = find_images([top])
    assert found == [top / "一" / "a.PNG"]
    listed = import_images(top, tmp_path / "store", None, Canvas()).column("origin")
    assert [top / origin for origin in listed] == found
    assert predict_files(model, [top], tmp_path / "p.csv", 1) == (1, 0)
    with pytest.raises(InputError, match=r"x\.png: neither a file nor a folder"):
        find_images([top / "一" / "x.png"])
    with pytest.raises(InputError, match=r"no image in it \(\.png, "):
        find_images([top / "folder.png"])


def test_the_script_writes_what_it_is_asked_for(model, tmp_path, load_script, capsys):
    images = tmp_path / "images"
    images.mkdir()
    drawing(LINES["十"]).save(images / "a.png")
    (images / "b.png").write_bytes(b"?")
    script, out = load_script("predict"), tmp_path / "p.csv"
    words = ["--model", str(model), "--images", str(images), "--out", str(out), "--workers", "1"]
    assert run(script.options(), script.main, [*words, "--top", "2"]) == 0
    said = capsys.readouterr().out
    assert said == f"{out}: 1 images, 1 unreadable (see {out}.skipped)\n"
    assert out.with_name("p.csv.skipped").read_text("utf-8").startswith(f"{images}/b.png\tnot an")
    (row,) = rows_of(out)
    assert row["label"] == row["char_1"] == "十" and row["char_2"] in LINES
    assert float(row["confidence_1"]) > float(row["confidence_2"])
    assert run(script.options(), script.main, [*words, "--top", "0"]) == 2
    assert "--top 0" in capsys.readouterr().err
    shown = script.options().format_help().replace("\n", " ")
    assert all(suffix in shown for suffix in SUFFIXES)


def test_own_layers_run_with_own_code_only(tmp_path, load_script, capsys, monkeypatch):
    """A model whose head was replaced by a class of the user's."""
    import torch

    from classifier.export import save_model
    from classifier.layers import replace_layers
    from classifier.networks import build_network

    (tmp_path / "mylayers.py").write_text(
        "import torch\n"
        "class Turned(torch.nn.Module):\n"
        "    def __init__(self, old):\n"
        "        super().__init__()\n"
        "        self.old = old\n"
        "    def forward(self, x):\n"
        "        return torch.tensor([[0.0, 9.0, 0.0, 0.0]]) + 0 * self.old(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    network, replaced = build_network("compact", 4), ["head=mylayers:Turned"]
    replace_layers(network, replaced)
    info = {"config": {"replace": replaced}}
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    save_model(run_folder, network, "compact", ALPHABET, (), Canvas(), 1.0, info)
    drawing(LINES["十"]).save(tmp_path / "a.png")
    script, out = load_script("predict"), tmp_path / "p.csv"
    words = ["--model", str(run_folder), "--images", str(tmp_path / "a.png"), "--out", str(out)]
    assert run(script.options(), script.main, words) == 2
    assert "--own-code" in capsys.readouterr().err and not out.exists()
    assert run(script.options(), script.main, [*words, "--own-code"]) == 0
    (row,) = rows_of(out)
    assert row["label"] == ALPHABET.chars[1] and float(row["confidence"]) > 0.99


def test_images_of_formats_that_are_not_read_are_listed_not_passed_over(model, tmp_path):
    """A folder from a phone once gave a table without a word of half of it."""
    images = tmp_path / "images"
    images.mkdir()
    drawing(LINES["十"]).save(images / "a.png")
    drawing(LINES["一"]).convert("RGB").save(images / "b.AVIF", "PNG")  # only its name is wrong
    (images / "c.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    drawing(LINES["一"]).save(images / "d.ico")
    (images / "e.tga").write_bytes(b"\0\1\1\0")
    (images / "notes.txt").write_text("words")
    assert predict_files(model, [images], tmp_path / "p.csv", 1) == (2, 3)
    listed = (tmp_path / "p.csv.skipped").read_text("utf-8").splitlines()
    said = {Path(path).name: why for path, why in (line.split("\t") for line in listed)}
    assert said == {
        "c.heic": "not an image of a format that is read (HEIC); save it as PNG",
        "d.ico": "not an image of a format that is read (ICO); save it as PNG",
        "e.tga": "not an image",
    }


def test_a_name_with_a_tab_or_a_line_end_takes_one_line_of_the_skipped(model, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    drawing(LINES["十"]).save(images / "a.png")
    names = ["1\t2.png", "1\n2.png", "1\r2.png", "1\u20282.png", "1\x852.png", "永 é.png"]
    for name in names:
        (images / name).write_bytes(b"?")
    predict_files(model, [images], tmp_path / "p.csv", 1)
    text = (tmp_path / "p.csv.skipped").read_text("utf-8")
    assert text.count("\n") == len(text.splitlines()) == len(names)
    listed = [Path(line.split("\t")[0]).name for line in text.splitlines()]
    assert sorted(listed) == sorted(
        [r"1\t2.png", r"1\n2.png", r"1\r2.png", r"1\u20282.png", r"1\x852.png", "永 é.png"]
    )
