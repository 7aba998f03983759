"""Damaged checkpoints, models and settings: refused in one line, no code in them is ever run."""

from __future__ import annotations

import io
import pickle
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import yaml
from bad_cases import Case, mutations, tried, try_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interrupting import Evil
from safetensors.torch import save

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.errors import InputError
from synth.files import save_checked
from synth.runs import keep_settings
from synth.store import Sample, StoreWriter

MEMORY_MIB = 1500
IN_FIXTURE = [HealthCheck.function_scoped_fixture]


def loads(case: tuple[Path, str, bytes]) -> str:
    """A copy of a classifier's folder with one file replaced is opened and asked."""
    from classifier.export import load_model

    good, file, data = case
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "model"
        shutil.copytree(good, place)
        (place / file).write_bytes(data)
        model = load_model(place)
        labels, _, _ = model.predict(np.zeros((1, 64, 64), np.uint8))
        assert labels[0] in model.card.alphabet.classes
    return "loaded"


def resumes(data: bytes) -> str:
    """Lightning's way to a checkpoint of ours, the one before missing."""
    from gan.checkpoints import CheckedCheckpoints

    with tempfile.TemporaryDirectory() as top:
        path = Path(top) / "last.ckpt"
        path.write_bytes(data)
        CheckedCheckpoints().load_checkpoint(path)
    return "loaded"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from classifier.export import save_model
    from classifier.networks import build_network

    folder = tmp_path_factory.mktemp("model") / "good"
    folder.mkdir()
    torch.manual_seed(0)
    alphabet = Alphabet.of("永國")
    save_model(folder, build_network("compact", 3), "compact", alphabet, (), Canvas(), 0.5, {})
    return folder


@pytest.mark.parametrize("each", [7, pytest.param(60, marks=pytest.mark.slow)])
def test_damaged_models(model: Path, each: int) -> None:
    cases: list[Case] = [
        (f"{file}, {what}", (model, file, data))
        for file in ("model.json", "model.safetensors")
        for what, data in mutations((model / file).read_bytes(), each, seed=each)
    ]
    outcomes = try_all(loads, cases, MEMORY_MIB, each_s=20)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 4, outcomes


@pytest.mark.parametrize("each", [21, pytest.param(200, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_never_loaded(tmp_path: Path, each: int) -> None:
    buffer = io.BytesIO()
    torch.save({"steps_done": 3, "weights": torch.arange(1000.0)}, buffer)
    path = tmp_path / "last.ckpt"
    save_checked(path, buffer.getvalue())
    good = path.read_bytes()
    assert try_all(resumes, [("good", good)], MEMORY_MIB, good=True) == {"loaded": 1}
    cases = [(w, d) for w, d in mutations(good, each, seed=each) if d != good]
    assert try_all(resumes, cases, MEMORY_MIB) == {"refused": len(cases)}


def test_code_is_never_run(tmp_path: Path, model: Path) -> None:
    """In a checkpoint with a right checksum, and in place of every file of a model."""
    from classifier.best import Best
    from classifier.export import load_model
    from classifier.lit import CheckedCheckpoints as OfClassifier
    from classifier.lit import ClassifierModule
    from gan.checkpoints import CheckedCheckpoints as OfGan

    mark = tmp_path / "it ran"
    zipped = io.BytesIO()
    torch.save({"weights": Evil(mark)}, zipped)
    plain = pickle.dumps({"weights": Evil(mark)}, protocol=2)  # torch's own; it warns of others
    for data in (zipped.getvalue(), plain):
        save_checked(tmp_path / "last.ckpt", data)
        for io_ in (OfClassifier(), OfGan()):
            with pytest.raises(InputError, match="refused, it is no checkpoint"):
                io_.load_checkpoint(tmp_path / "last.ckpt")
        save_checked(tmp_path / "best.pt", data)
        module = MagicMock(spec=ClassifierModule, average=MagicMock())
        with pytest.raises(InputError, match="refused, it is no checkpoint"):
            Best(tmp_path / "best.pt", "val_known", None).restore(module)
        for file in ("model.json", "model.safetensors"):
            place = tmp_path / "model"
            shutil.copytree(model, place)
            (place / file).write_bytes(data)
            with pytest.raises(InputError):
                load_model(place)
            tried(__name__, (file, data))
            shutil.rmtree(place)
    assert not mark.exists()
    pickle.loads(plain)  # it would have
    assert mark.exists()


def test_pretrained_weights_run_no_code(tmp_path: Path) -> None:
    from classifier.networks import build_network
    from classifier.pretrained import start_from

    mark = tmp_path / "it ran"
    torch.save({"stem.weight": Evil(mark)}, tmp_path / "weights.pt")
    (tmp_path / "weights.safetensors").write_bytes(save({"x": torch.ones(3)})[:-5])
    for name in ("weights.pt", "weights.safetensors"):
        with pytest.raises(InputError, match=name):
            start_from(build_network("compact", 3), "compact", str(tmp_path / name))
    assert not mark.exists()


YAML = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"- a\n- b\n",
            b"3\n",
            b"null\n",
            b"gan: 3\n",
            b"gan: [1]\n",
            b"gan:\n  steps: {a: [b, {c: d}]}\n",
            b"a: &a [*a]\n",
            b"!!python/object/apply:os.system ['echo ran']\n",
            b"a: &a [x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c]\n",
            b"[" * 5000,
            b"? ? ?\n",
            b"seed: 1e999\nout: !!binary x\n",
            b"\xff\xfe\x00",
        ]
    ),
)


@given(YAML)
@settings(max_examples=120, deadline=None, suppress_health_check=IN_FIXTURE)
def test_settings_of_a_run(tmp_path: Path, data: bytes) -> None:
    """config.yaml of an unfinished run: refused, whatever it holds."""
    (tmp_path / "config.yaml").write_bytes(data)
    with pytest.raises(InputError, match=str(tmp_path)) as raised:
        keep_settings(tmp_path, {"gan": {"steps": 3}}, ("gan",))
    assert "\n" not in str(raised.value)
    tried(__name__, ("settings", data))


def test_a_config_file_of_a_command(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All else on the line is right: what is refused is the file, before the command begins."""
    config, images = tmp_path / "config.yaml", tmp_path / "images"
    images.mkdir()
    script, outcomes = load_script("import_data"), Counter[int]()
    line = ["--config", str(config), str(images), "--out", str(tmp_path / "out")]

    @given(YAML)
    @settings(max_examples=120, deadline=None)
    def refused_or_empty(data: bytes) -> None:
        config.write_bytes(data)
        code = run(script.options(), lambda args: None, line)
        told = capsys.readouterr().err.strip()
        outcomes[code] += 1
        if code == 2:
            assert told and len(told.splitlines()) == 1, told
            tried(__name__, ("config", data))
        else:  # nothing but a comment, say
            assert code == 0 and not told and not yaml.safe_load(data), data

    refused_or_empty()
    assert outcomes[2] >= 60, outcomes
    config.write_bytes(b"seed: 7\n")
    assert run(script.options(), lambda args: None, line) == 0


def test_damaged_corrections(tmp_path: Path) -> None:
    """A CSV of decided labels that is no CSV, or names images that are not there."""
    from classifier.corrections import Corrections
    from synth.store import Store

    with StoreWriter(tmp_path / "real", Canvas(), Alphabet.of("A"), {}) as writer:
        writer.append(np.full((1, 64, 64), 7, np.uint8), [Sample("A", "A", "real")])
    real = Store.open(tmp_path / "real")
    good = b"sha256,label\n" + real.column("sha256")[0].encode() + b",A\n"
    file, refused = tmp_path / "corrections.csv", 0
    for what, data in mutations(good, 60, seed=1):
        file.write_bytes(data)
        try:
            Corrections.read(file, real)
        except InputError as error:
            assert "\n" not in str(error), what
            refused += 1
        tried(__name__, ("corrections", data))
    assert refused > 30


def test_best_weights_that_are_an_earlier_ones_say_so(tmp_path: Path) -> None:
    """Of a damaged file the one before is taken; value and step stayed those of the lost one."""
    from classifier.best import Best
    from classifier.lit import ClassifierModule
    from synth.learning import save_checkpoint

    path = tmp_path / "best.pt"
    for step, value in ((100, 0.5), (200, 0.7)):
        weights = {"weight": torch.full((3,), float(step))}
        save_checkpoint({"weights": weights, "value": value, "step": step}, path)
    path.write_bytes(path.read_bytes()[:-9])
    best = Best(path, "val_known", None)
    best.value, best.step = 0.7, 200
    module = MagicMock(spec=ClassifierModule, average=MagicMock())
    best.restore(module)
    assert (best.value, best.step) == (0.5, 100)
    (taken,) = module.average.module.load_state_dict.call_args.args
    assert taken["weight"].tolist() == [100.0] * 3
