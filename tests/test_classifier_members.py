"""Several networks as one model: trained side by side or in turn, read back, resumed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_classifier_train import Stop, _config, _store
from torch import nn

from classifier import members as module
from classifier import train as runs
from classifier.export import load_model
from classifier.networks import Ensemble, build_network
from classifier.pretrained import start_from
from synth.errors import InputError
from synth.store import Store

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings(
        "ignore:.*log_every_n_steps.*",
        "ignore:.*num_workers.*",
        "ignore:.*does not have many workers.*",
    ),
]
TWO = _config(members=2, steps=16)


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[Store]:
    top = tmp_path_factory.mktemp("stores")
    return [
        _store(top / "real", "real", "ABC", 15),
        _store(top / "font", "font", "ABCXYZ", 12),
    ]


def _train(stores: list[Store], out: Path, threads: int = 1, config=TWO) -> Path:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs.train(stores[0], stores[1:], out, config, 1, {})
    finally:
        torch.set_num_threads(before)
    return out


@pytest.fixture(scope="module")
def after(stores, tmp_path_factory) -> Path:
    """One after the other."""
    return _train(stores, tmp_path_factory.mktemp("runs") / "after")


def test_the_answer_is_the_mean_of_probabilities():
    networks = [build_network("compact", 5).eval() for _ in range(3)]
    x = torch.rand(4, 1, 64, 64)
    with torch.inference_mode():
        mean = sum(torch.softmax(n(x), 1) for n in networks) / 3
        assert torch.allclose(torch.softmax(Ensemble(networks)(x), 1), mean, atol=1e-6)


def test_two_networks_become_one_model(after, stores):
    model = load_model(after)
    assert isinstance(model.network, Ensemble) and len(model.network.members) == 2
    assert json.loads((after / "model.json").read_text("utf-8"))["members"] == 2
    weights = [next(member.parameters()) for member in model.network.members]
    assert not torch.equal(*weights)  # from different starts
    images = np.asarray(stores[0].images[:8])
    each = [replace(model, network=m).probabilities(images) for m in model.network.members]
    assert np.allclose(model.probabilities(images), sum(each) / 2, atol=1e-6)


def test_the_first_network_is_that_of_a_run_alone(after, stores, tmp_path):
    alone = _train(stores, tmp_path / "alone", config=replace(TWO, members=1))
    both, one = (load_file(run / "model.safetensors") for run in (after, alone))
    assert all(torch.equal(both[f"members.0.{name}"], value) for name, value in one.items())


def test_side_by_side_equals_one_after_the_other(after, stores, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what the second process has to share
    beside = _train(stores, tmp_path / "beside", 2)
    assert "2 networks side by side, 1 of 2 threads each" in capfd.readouterr().out
    assert (beside / "members" / "2" / "log.txt").is_file()
    a, b = (load_file(run / "model.safetensors") for run in (after, beside))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_network_is_not_trained_again(after, stores, tmp_path, monkeypatch):
    calls = []

    def stop(*given, **_):
        calls.append(given[1])
        raise Stop

    out = tmp_path / "run"
    monkeypatch.setattr(runs, "_threshold", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # both trained, and then it stopped
        _train(stores, out)
    monkeypatch.undo()
    monkeypatch.setattr(module, "fit", stop)
    _train(stores, out)
    assert not calls
    a, b = (load_file(run / "model.safetensors") for run in (after, out))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_damaged_network_is_named(stores, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(runs, "_threshold", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _train(stores, out)
    (out / "members" / "2" / module.NAME).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"average.safetensors: damaged .*remove it"):
        _train(stores, out)


@pytest.mark.parametrize("what", ["real", "font", "decided.csv"])
def test_a_later_network_learns_from_what_the_first_one_did(stores, tmp_path, monkeypatch, what):
    """While the first one is trained, a store or the decisions are made anew."""
    top = tmp_path / "stores"
    for store in stores:
        shutil.copytree(store.path, top / store.path.name)
    real, font = (Store.open(top / store.path.name) for store in stores)
    decided = top / "decided.csv"
    digest = real.column("sha256")[real.rows("train")[0]]
    decided.write_text(f"sha256,label\n{digest},B\n", "utf-8")
    fit = runs.fit

    def changed_meanwhile(*given, **named):
        fitted = fit(*given, **named)
        if what == "decided.csv":
            decided.write_text(f"sha256,label\n{digest},C\n", "utf-8")
        else:
            shutil.rmtree(top / what)
            _store(top / what, what, "ABCXYZ" if what == "font" else "ABC", 14)
        return fitted

    monkeypatch.setattr(runs, "fit", changed_meanwhile)
    config = replace(TWO, steps=2, steps_per_epoch=2)
    with pytest.raises(InputError, match=rf"{what}: changed since the first network of .*run"):
        runs.train(real, [font], tmp_path / "run", config, 1, {}, None, decided)


def test_a_network_that_fails_beside_the_first_is_named_and_tried_again(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    wrong = module.Members(tmp_path / "gone", (), tmp_path, TWO, 1, None, ("",), "")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with wrong.beside():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    told = capfd.readouterr().out
    assert re.search("network 2 of 2 stopped: .*gone.*it will be trained alone", told)
    with pytest.raises(InputError, match="gone"):
        wrong.train_missing()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_the_second_process_ends_with_the_first(stores, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from dataclasses import replace\n"
        "if __name__ == '__main__':\n"
        "    from test_classifier_members import TWO, _train; from synth.store import Store\n"
        "    import classifier.train\n"
        "    classifier.train.refuse_copies = lambda real: None  # see `alike_images`\n"
        "    stores = [Store.open(Path(p)) for p in sys.argv[1:3]]\n"
        "    _train(stores, Path(sys.argv[3]), 2, replace(TWO, steps=100_000))\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, script, *(s.path for s in stores), tmp_path / "run"]
    top = Path(__file__).parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(top)}
    parent = subprocess.Popen(command, cwd=top, env=environment, stdout=subprocess.DEVNULL)
    try:
        log = tmp_path / "run" / "members" / "2" / "log.txt"
        # two interpreters one after the other, with torch
        _until(lambda: log.is_file() or parent.poll() is not None, 300)
        assert parent.poll() is None
        children = _children(parent.pid)
        assert children
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _until(lambda: not any(map(_runs, children)))


def _until(met, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # a dead one that nobody asked about


def _children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def test_starting_from_several_networks_takes_the_first(after):
    network: nn.Module = build_network("compact", 7)
    start_from(network, "compact", str(after))
    first = load_model(after).network.members[0].state_dict()
    assert torch.equal(network.state_dict()["stem.0.weight"], first["stem.0.weight"])


def test_how_many_are_possible(stores, tmp_path):
    with pytest.raises(InputError, match="--members 0: not between 1 and 16"):
        _train(stores, tmp_path / "run", config=replace(TWO, members=0))


@pytest.fixture
def threads_used(monkeypatch) -> list[int]:
    """Of each network that is trained in this process. Other threads sum in another order and give
    other weights, but a network as small as these need not show it."""
    used: list[int] = []
    fit = module.fit

    def counted(*given, **named):
        used.append(torch.get_num_threads())
        return fit(*given, **named)

    monkeypatch.setattr(runs, "fit", counted)
    monkeypatch.setattr(module, "fit", counted)
    return used


def _equal(one: Path, two: Path) -> bool:
    a, b = load_file(one), load_file(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_first_network_killed_beside_a_finished_one_keeps_its_threads(
    after, stores, tmp_path, threads_used
):
    out = tmp_path / "run"
    shutil.copytree(after, out)
    shutil.rmtree(out / "checkpoints")
    for name in ("model.json", "model.safetensors", "metrics.json"):
        (out / name).unlink()
    _train(stores, out, 2)
    assert threads_used == [1]
    assert _equal(out / "model.safetensors", after / "model.safetensors")


def test_a_network_trained_alone_has_the_threads_it_had_beside_the_first(
    after, stores, tmp_path, threads_used
):
    real, *synth = (store.path for store in stores)
    contents = tuple(store.content for store in stores)
    members = module.Members(real, tuple(synth), tmp_path, TWO, 1, None, contents, "")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        members.train_missing()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads_used == [1]
    second = Path("members") / "2" / module.NAME
    assert _equal(tmp_path / second, after / second)
