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

from classifier.predict import CHUNK, open_model, predict_files, read_files
from synth.canvas import Canvas
from synth.corpus import import_images
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
    assert len(files) == len(names) * len(LINES) == 45
    read = read_files(files, Canvas())
    assert not read.broken and (read.images == store.images).all()
    assert len({image.tobytes() for image in read.images}) == 45


def test_every_variant_is_answered_alike(model, pictures, tmp_path):
    assert predict_files(model, [pictures], tmp_path / "p.csv", 1) == (45, 0)
    for row in rows_of(tmp_path / "p.csv"):
        assert row["label"] == Path(row["path"]).parent.name, row["path"]


def test_the_three_formats_say_the_same(model, pictures, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        predict_files(model, [pictures], tmp_path / f"p.{suffix}", 1, top=2)
    table = rows_of(tmp_path / "p.csv")
    lines = [json.loads(x) for x in (tmp_path / "p.jsonl").read_text("utf-8").splitlines()]
    parquet = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert len(table) == len(lines) == len(parquet) == 45
    assert list(table[0])[4:] == ["char_1", "confidence_1", "char_2", "confidence_2"]
    for a, b, c in zip(table, lines, parquet, strict=True):
        assert a["path"] == b["path"] == c["path"]
        assert a["label"] == b["label"] == c["label"]
        assert float(a["confidence"]) == b["confidence"] == pytest.approx(c["confidence"], abs=6e-5)
        assert float(a["other"]) == b["other"] == pytest.approx(c["other"], abs=6e-7)
        assert [[a["char_1"], float(a["confidence_1"])], [a["char_2"], float(a["confidence_2"])]]
        assert b["top"][0] == [a["char_1"], float(a["confidence_1"])]
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
    (good / "folder.png").mkdir()
    assert predict_files(model, [good], tmp_path / "p.csv", 1) == (3, 5)
    listed = (tmp_path / "p.csv.skipped").read_text("utf-8").splitlines()
    assert [Path(x.split("\t")[0]).name for x in listed] == [
        "cut.png", "empty.png", "folder.png", "huge.png", "text.jpg"
    ]  # fmt: skip
    assert all(len(x.split("\t")[1]) > 5 for x in listed)
    for name in ("cut.png", "empty.png", "text.jpg", "huge.png"):
        (good / name).unlink()
    (good / "folder.png").rmdir()
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
    with pytest.raises(InputError, match=r"none of 1 images could be read: .*not an image"):
        predict_files(model, [tmp_path / "bad"], tmp_path / "p.csv", 1)
    assert not list(tmp_path.glob("*p.csv*"))


def test_a_model_that_is_none(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.onnx"):
        open_model(tmp_path / "a.onnx")
