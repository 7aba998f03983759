"""A network as an ONNX file: the same answers as torch, its card with it, nothing that runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from toy_model import write_toy_model

from classifier import convert
from classifier.convert import check_images, compare, export_onnx
from classifier.export import load_model, save_model
from classifier.networks import build_network
from classifier.onnx import CARD, INPUT, MADE, is_of, load_onnx, sha256
from classifier.predict import open_model
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

ALPHABET = Alphabet.of("永國銀三")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model whose answers differ from image to image, as an exported folder."""
    out = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    network = build_network("compact", 7)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:  # statistics and gains as after training, not 0 and 1
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.3)
    network.head.weight.data *= 3
    with torch.no_grad():
        network.train()(torch.from_numpy(to_float(check_images(64, 40)))[:, None])
    save_model(out, network, "compact", ALPHABET, ("水", "火"), Canvas(), 0.6, {"seed": 4})
    export_onnx(load_model(out), out / "model.safetensors", out / "model.onnx")
    return out


def test_every_batch_size_answers_as_torch(folder):
    """Softmax of a network whose normalisation is `to_float`, written out here once more."""
    network, onnx_model = load_model(folder).network, load_onnx(folder / "model.onnx")
    images = check_images(64, 40)
    with torch.no_grad():
        x = (torch.from_numpy(images).float() - 127.5) / 127.5
        wanted = network(x[:, None]).softmax(1).numpy()
    assert np.ptp(wanted, axis=0).max() > 0.05  # the answers do differ
    for n in (1, 2, 7, 40):
        assert np.abs(onnx_model.probabilities(images[:n]) - wanted[:n]).max() < 1e-5
    assert onnx_model.probabilities(images[:0]).shape == (0, 7)
    split = onnx_model.probabilities(images, batch_size=16)
    assert np.abs(split - wanted).max() < 1e-5


def test_the_file_says_what_it_is_and_how_it_was_checked(folder):
    graph = onnx.load(folder / "model.onnx")
    assert {p.key for p in graph.metadata_props} == {CARD, MADE}
    assert not any(i.external_data for i in graph.graph.initializer)
    assert graph.graph.input[0].name == INPUT
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # dynamic
    loaded = load_onnx(folder / "model.onnx")
    assert loaded.card == load_model(folder).card
    compared = loaded.made["compared"]
    assert compared["images"] == 128 and compared["f32"]["same_answers"] == 1
    assert 0 <= compared["f32"]["max_difference"] < 1e-4
    assert loaded.made["weights_sha256"] == sha256(folder / "model.safetensors")
    assert set(loaded.made["versions"]) == {"torch", "onnx", "openvino"}


def test_labelled_images_give_accuracies(folder, tmp_path):
    model = load_model(folder)
    images = check_images(64, 30)
    labels, _, _ = model.predict(images)
    labels[:3] = ["永" if label != "永" else "三" for label in labels[:3]]  # three are wrong
    with StoreWriter(tmp_path / "store", Canvas(), ALPHABET, {}) as writer:
        writer.append(images, [Sample(label, "", "real", "test") for label in labels])
    found = compare(model, folder / "model.onnx", Store.open(tmp_path / "store"))
    assert found["torch"]["accuracy"] == found["f32"]["accuracy"] == pytest.approx(0.9)
    with StoreWriter(tmp_path / "foreign", Canvas(), Alphabet.of("AB"), {}) as writer:
        writer.append(images[:1], [Sample("A", "A", "real")])
    with pytest.raises(InputError, match="only here: AB"):
        compare(model, folder / "model.onnx", Store.open(tmp_path / "foreign"))


def test_a_file_that_answers_otherwise_is_not_written(folder, tmp_path, monkeypatch):
    """The check is made to see another graph than the model's."""
    toy = write_toy_model(tmp_path / "toy.onnx")
    model = load_model(folder)

    def wrong(_, path):
        graph = onnx.load(folder / "model.onnx")
        bias = next(i for i in graph.graph.initializer if i.name.endswith("head.bias"))
        array = onnx.numpy_helper.to_array(bias) + np.arange(7, dtype=np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(array, bias.name))
        path.write_bytes(graph.SerializeToString())

    monkeypatch.setattr(convert, "_write_graph", wrong)
    with pytest.raises(RuntimeError, match="ONNX and torch differ by"):
        export_onnx(model, folder / "model.safetensors", tmp_path / "out.onnx")
    assert toy.exists() and not (tmp_path / "out.onnx").exists()


def test_a_file_is_tied_to_its_weights(folder, tmp_path):
    assert is_of(folder / "model.onnx", folder / "model.safetensors")
    other = tmp_path / "model.safetensors"
    other.write_bytes((folder / "model.safetensors").read_bytes()[:-4] + b"abcd")
    assert not is_of(folder / "model.onnx", other)
    cut = tmp_path / "model.onnx"
    cut.write_bytes((folder / "model.onnx").read_bytes()[:5000])
    assert not is_of(cut, folder / "model.safetensors")


def test_what_is_no_file_of_ours_is_one_clear_error(folder, tmp_path):
    whole = (folder / "model.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="no such file"):
        load_onnx(path)
    for data in (b"", b"nothing", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"no whole ONNX file|no metadata"):
            load_onnx(path)
    graph = onnx.load_from_string(whole)
    del graph.metadata_props[:]
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="no metadata of this project"):
        load_onnx(path)
    graph = onnx.load_from_string(whole)
    for prop in graph.metadata_props:
        if prop.key == CARD:
            card = json.loads(prop.value)
            prop.value = json.dumps(card | {"others": ["水"]})
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match="its metadata says"):
        load_onnx(path)
    with pytest.raises(InputError, match="precision 'half'"):
        load_onnx(folder / "model.onnx", "half")


def test_a_folder_is_run_by_torch_and_without_weights_by_its_onnx(folder, tmp_path):
    only = tmp_path / "only"
    only.mkdir()
    (only / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    images = check_images(64, 9)
    results = [open_model(p).probabilities(images) for p in (folder, folder / "model.onnx", only)]
    assert np.abs(results[0] - results[1]).max() < 1e-5
    assert (results[1] == results[2]).all()
    with pytest.raises(InputError, match="no model"):
        open_model(tmp_path)


def test_answering_needs_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from classifier.predict import open_model\n"
        f"model = open_model(Path({str(folder / 'model.onnx')!r}))\n"
        "model.card.predictions(model.probabilities(np.zeros((2, 64, 64), np.uint8)), 3)\n"
        "print('torch' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False False"
