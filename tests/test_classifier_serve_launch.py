"""Which ONNX file is served: one that fits the model beside it, made anew where none does."""

import json
from pathlib import Path

import numpy as np
import pytest
from toy_model import ALPHABET, write_toy_model

from classifier.card import Card
from classifier.serve.launch import onnx_of
from synth.canvas import Canvas
from synth.errors import InputError
from synth.files import sha256_of
from synth.store import Sample, StoreWriter

# stands for export_model.py: tells how it was called, copies a file, fails where it is told to
EXPORT = """
import pathlib, shutil, sys
log = pathlib.Path({log!r})
log.write_text(log.read_text() + " ".join(sys.argv[1:]) + "\\n" if log.exists() else
    " ".join(sys.argv[1:]) + "\\n")
if {fail!r} in sys.argv:
    raise SystemExit(2)
shutil.copy({made!r}, {out!r})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder: weights and a card whose training images are in a store beside it."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"weights")
    write_card(out, 0.5)
    return out


def write_card(folder: Path, threshold: float, **info) -> None:
    card = Card("toy", ALPHABET, (), Canvas(), threshold, info)
    (folder / "model.json").write_text(card.to_json(), "utf-8")


def write_store(path: Path, split: str) -> Path:
    """One image, of the toy's alphabet."""
    canvas = Canvas()
    with StoreWriter(path, canvas, ALPHABET, {}) as writer:
        image = np.full((1, canvas.size_px, canvas.size_px), 7, np.uint8)
        writer.append(image, [Sample(ALPHABET.chars[0], "", "real", split)])
    return path


def exporter(folder: Path, fail: str = "never") -> list[str]:
    top = folder.parent
    made = write_toy_model(top / "made.onnx", sha256_of(folder / "model.safetensors"))
    script = top / "export.py"
    script.write_text(
        EXPORT.format(
            log=str(top / "log"), fail=fail, made=str(made), out=str(folder / "model.onnx")
        )
    )
    return [str(script), "--model", str(folder)]


def calls(folder: Path) -> list[str]:
    log = folder.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_one_that_fits_is_taken_and_one_that_does_not_is_made_anew(folder):
    export = exporter(folder)
    assert onnx_of(folder, export) == folder / "model.onnx"
    assert len(calls(folder)) == 1
    onnx_of(folder, export)
    assert len(calls(folder)) == 1  # it was there
    write_card(folder, 0.4)  # the same weights, another threshold
    onnx_of(folder, export)
    assert len(calls(folder)) == 2
    assert onnx_of(folder / "model.onnx", export) == folder / "model.onnx"
    assert len(calls(folder)) == 2  # a file by itself is what it is


def test_what_bf16_costs_is_measured_on_the_images_that_are_there(folder):
    store = folder.parent / "real"
    info = {"sources": [{"store": str(store)}, {"store": str(folder)}]}
    write_card(folder, 0.5, **info)
    export = exporter(folder)
    onnx_of(folder, export)
    assert calls(folder) == [f"--model {folder}"]  # they are gone
    write_store(store, "val")
    (folder / "model.onnx").unlink()
    onnx_of(folder, export)
    assert calls(folder)[1:] == [f"--model {folder} --check {store}"]


def test_images_that_cannot_be_measured_on_do_not_stop_it(folder, capsys):
    write_card(folder, 0.5, sources=[{"store": str(write_store(folder.parent / "real", "train"))}])
    onnx_of(folder, exporter(folder))
    assert calls(folder) == [f"--model {folder}"]
    assert "only training images" in capsys.readouterr().out


def test_a_failed_comparison_is_not_passed_over(folder):
    """Without the images that it failed on the export would go through."""
    store = write_store(folder.parent / "real", "val")
    write_card(folder, 0.5, sources=[{"store": str(store)}])
    with pytest.raises(InputError, match=r"export_model\.py failed"):
        onnx_of(folder, exporter(folder, fail="--check"))
    assert calls(folder) == [f"--model {folder} --check {store}"]


def test_a_file_that_is_of_another_card_and_cannot_be_made_is_refused(folder):
    made = write_toy_model(folder / "model.onnx")
    write_card(folder, 0.4)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"not of the model\.json beside it"):
        onnx_of(folder, [])
    (folder / "model.json").unlink()
    assert onnx_of(folder, []) == made
    made.unlink()
    with pytest.raises(InputError, match="no model"):
        onnx_of(folder, [])


@pytest.mark.parametrize("info", [{}, {"sources": []}, {"sources": [{}]}, {"sources": 3}])
def test_a_card_that_names_no_images_is_exported_without(folder, info):
    write_card(folder, 0.5, **info)
    onnx_of(folder, exporter(folder))
    assert calls(folder) == [f"--model {folder}"]
    assert json.loads((folder / "model.json").read_text("utf-8"))["info"] == info
