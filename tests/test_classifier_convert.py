"""A network as an ONNX file: the same answers as torch, its card with it, nothing that runs."""

import json
import subprocess
import sys
from dataclasses import replace
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
from classifier.networks import Ensemble, build_network
from classifier.onnx import (
    CARD,
    FEWEST,
    INPUT,
    MADE,
    MOST_CHANGED,
    fits,
    has_bf16,
    load_onnx,
    why_not_fast,
)
from classifier.predict import open_model
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.command import run
from synth.errors import InputError
from synth.files import sha256_of
from synth.processor import slow_in_bfloat16
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
    assert compared["images"] == 128 and compared["split"] is None
    assert compared["f32"]["same_answers"] == 1 and ("bf16" in compared) == has_bf16()
    assert 0 <= compared["f32"]["max_difference"] < 1e-4
    assert loaded.made["weights_sha256"] == sha256_of(folder / "model.safetensors")
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
    model = load_model(folder)

    def wrong(_, path):
        graph = onnx.load(folder / "model.onnx")
        bias = next(i for i in graph.graph.initializer if i.name.endswith("head.bias"))
        array = onnx.numpy_helper.to_array(bias) + np.arange(7, dtype=np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(array, bias.name))
        path.write_bytes(graph.SerializeToString())

    monkeypatch.setattr(convert, "_write_graph", wrong)
    with pytest.raises(InputError, match="not written: ONNX and torch differ by"):
        export_onnx(model, folder / "model.safetensors", tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


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


def changed(path: Path, key: str, text: str, out: Path) -> Path:
    """The ONNX file with another text in its metadata."""
    graph = onnx.load(path)
    for prop in graph.metadata_props:
        if prop.key == key:
            prop.value = text
    out.write_bytes(graph.SerializeToString())
    return out


def test_a_file_is_tied_to_the_weights_and_the_card_beside_it(folder, tmp_path):
    assert fits(folder / "model.onnx", folder)
    for name in ("model.safetensors", "model.json", "model.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    onnx_file, about = tmp_path / "model.onnx", tmp_path / "model.json"
    assert fits(onnx_file, tmp_path)
    card = about.read_text("utf-8")
    assert '"threshold": 0.6' in card
    about.write_text(card.replace('"threshold": 0.6', '"threshold": 0.7'), "utf-8")
    assert not fits(onnx_file, tmp_path)  # the same weights, but another answer
    about.write_text("{", "utf-8")
    assert not fits(onnx_file, tmp_path)
    about.unlink()
    assert fits(onnx_file, tmp_path)  # nothing there that says otherwise
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    assert not fits(onnx_file, tmp_path)
    weights.unlink()
    for damage in (onnx_file.read_bytes()[:5000], b""):
        onnx_file.write_bytes(damage)
        assert not fits(onnx_file, tmp_path)
    for key in (CARD, MADE):
        changed(folder / "model.onnx", key, "no JSON", onnx_file)
        about.write_text(card, "utf-8")
        weights.write_bytes((folder / "model.safetensors").read_bytes())
        assert not fits(onnx_file, tmp_path)


def test_without_torch_a_stale_file_is_refused(folder, tmp_path, monkeypatch):
    for name in ("model.safetensors", "model.json", "model.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr("classifier.predict.find_spec", lambda name: None)
    assert open_model(tmp_path).card.threshold == 0.6
    card = (tmp_path / "model.json").read_text("utf-8")
    (tmp_path / "model.json").write_text(card.replace('"threshold": 0.6', '"threshold": 0.7'))
    with pytest.raises(InputError, match="of another model than the files beside it"):
        open_model(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"no model\.onnx in it, and without torch"):
        open_model(tmp_path)


@pytest.mark.parametrize("text", ["no JSON", "[1]", "{}", '{"weights_sha256": 1}'])
def test_damaged_history_is_one_clear_error(folder, tmp_path, text):
    path = changed(folder / "model.onnx", MADE, text, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"model\.onnx: damaged metadata"):
        load_onnx(path)


def test_a_network_that_the_runtime_does_not_know_is_one_clear_error(folder, tmp_path):
    graph = onnx.load(folder / "model.onnx")
    node = graph.graph.node[-1]
    node.op_type, node.domain = "Unheard", "nobody"
    graph.opset_import.append(onnx.helper.make_opsetid("nobody", 1))
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InputError, match=r"model\.onnx: (no whole ONNX file|its network cannot)"):
        load_onnx(path)


def labelled(model, path: Path, splits: dict[str, int], wrong: int = 0) -> Store:
    """Images with the labels that the model gives them, but the first `wrong` of each split."""
    count = sum(splits.values())
    images = check_images(64, count)
    labels, _, _ = model.predict(images)
    split = [name for name, n in splits.items() for _ in range(n)]
    for name in splits:
        first = split.index(name)
        for i in range(first, first + wrong):
            labels[i] = "永" if labels[i] != "永" else "三"
    with StoreWriter(path, Canvas(), ALPHABET, {}) as writer:
        samples = [Sample(c, "", "real", s) for c, s in zip(labels, split, strict=True)]
        writer.append(images, samples)
    return Store.open(path)


def test_training_images_are_not_measured_on(folder, tmp_path):
    model, file = load_model(folder), folder / "model.onnx"
    store = labelled(model, tmp_path / "all", {"train": 20, "val": 10, "test": 5}, wrong=1)
    found = compare(model, file, store)
    assert (found["split"], found["images"]) == ("test", 5)
    assert found["torch"]["accuracy"] == found["f32"]["accuracy"] == pytest.approx(0.8)
    store = labelled(model, tmp_path / "two", {"train": 20, "val": 10}, wrong=1)
    found = compare(model, file, store)
    assert (found["split"], found["images"], found["store"]) == ("val", 10, store.content)
    assert found["torch"]["accuracy"] == pytest.approx(0.9)
    with pytest.raises(InputError, match="only training images"):
        compare(model, file, labelled(model, tmp_path / "one", {"train": 5}))


def measured(same: float, lost: float) -> dict:
    return {
        "store": "abc",
        "split": "val",
        "images": FEWEST,
        "torch": {"accuracy": 0.9},
        "bf16": {"same_answers": same, "accuracy": 0.9 - lost},
    }


@pytest.mark.parametrize(
    ("compared", "says"),
    [
        (measured(1, 0), ""),
        (measured(1 - MOST_CHANGED, 0.004), ""),
        (measured(0.98, 0), "changes 2.00% of the answers"),
        (measured(1, 0.02), "loses 2.00% accuracy"),
        (measured(float("nan"), 0), "bf16 changes nan"),
        (measured(1, 0) | {"bf16": None}, "was not measured"),  # a processor without
        (measured(1, 0) | {"store": None, "split": None}, "was not measured"),  # random strokes
        (measured(1, 0) | {"split": None}, "was not measured"),  # on all images, trained on or not
        (measured(1, 0) | {"images": FEWEST - 1}, "was measured on 199 images"),
        ({}, "was not measured"),
        (None, "was not measured"),
    ],
)
def test_fast_is_bf16_only_where_its_cost_was_measured(tmp_path, monkeypatch, compared, says):
    monkeypatch.setattr("classifier.onnx.has_bf16", lambda: True)
    monkeypatch.setattr("classifier.onnx.slow_in_bfloat16", lambda: False)
    assert says in (reason := why_not_fast({"compared": compared})) and bool(says) == bool(reason)
    monkeypatch.undo()
    toy = write_toy_model(tmp_path / "toy.onnx", compared=compared)
    loaded = load_onnx(toy, "fast")
    is_fast = has_bf16() and not slow_in_bfloat16() and not says
    assert loaded.precision == ("bf16" if is_fast else "f32")
    assert bool(loaded.not_fast) != is_fast
    assert load_onnx(toy, "f32").not_fast == ""


def test_fast_is_not_bf16_on_a_processor_that_it_slows_down(monkeypatch):
    monkeypatch.setattr("classifier.onnx.has_bf16", lambda: True)
    monkeypatch.setattr("classifier.onnx.slow_in_bfloat16", lambda: True)
    assert "faster in float32" in why_not_fast({"compared": measured(1, 0)})


def test_bf16_is_had_where_it_is_asked_for(tmp_path):
    toy = write_toy_model(tmp_path / "toy.onnx")
    if has_bf16():
        assert load_onnx(toy, "bf16").precision == "bf16"
    else:
        with pytest.raises(InputError, match="does not compute in it"):
            load_onnx(toy, "bf16")


def test_an_ensemble_answers_as_torch_for_any_batch(tmp_path):
    """The default of the small preset: two networks whose probabilities are averaged."""
    torch.manual_seed(1)
    networks = []
    for seed in (0, 1):
        network = build_network("compact", 5)
        network.head.weight.data *= 3
        images = check_images(64, 40 + 8 * seed)
        with torch.no_grad():
            network.train()(torch.from_numpy(to_float(images))[:, None])
        networks.append(network)
    save_model(tmp_path, Ensemble(networks), "compact", ALPHABET, (), Canvas(), 0.5, {})
    model = load_model(tmp_path)
    export_onnx(model, tmp_path / "model.safetensors", tmp_path / "model.onnx")
    loaded = load_onnx(tmp_path / "model.onnx")
    assert loaded.card.members == 2 and fits(tmp_path / "model.onnx", tmp_path)
    images = check_images(64, 40)
    each = [network.eval() for network in networks]
    with torch.no_grad():
        x = torch.from_numpy(to_float(images))[:, None]
        wanted = sum(network(x).softmax(1) for network in each).numpy() / 2
        apart = (each[0](x).softmax(1) - each[1](x).softmax(1)).abs().max()
    assert apart > 0.01  # two networks, not one twice
    for n in (1, 2, 7, 40):
        assert np.abs(loaded.probabilities(images[:n]) - wanted[:n]).max() < 1e-5


class Undecided(torch.nn.Module):
    """Which way it goes depends on the pixels: no graph can hold that."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2)) if float(x.sum()) > 0 else x.amax((1, 2))


def test_what_cannot_be_exported_is_one_clear_error_and_leaves_nothing(
    folder, tmp_path, load_script, monkeypatch, capsys
):
    model = replace(load_model(folder), network=Undecided())
    with pytest.raises(InputError, match="its network cannot be written as ONNX"):
        export_onnx(model, folder / "model.safetensors", tmp_path / "new" / "model.onnx")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(convert, "MAX_DIFFERENCE", -1)  # whatever it is, it is too much
    script = load_script("export_model")
    words = ["--model", str(folder), "--out", str(tmp_path / "out")]
    assert run(script.options(), script.main, words) == 2
    assert "not written: ONNX and torch differ" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert run(script.options(), script.main, words) == 0
    assert fits(tmp_path / "out" / "model.onnx", tmp_path / "out")
    assert "served in float32: " in capsys.readouterr().out  # nothing was measured
