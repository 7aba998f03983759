"""No space, no permission, two writers, a wrong clock: nothing lost, nothing torn looks whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, write_images

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.corpus import import_images
from synth.errors import InputError
from synth.files import load_checked, save_checked, write_whole
from synth.store import Sample, Store, StoreWriter, lock_output


def write_store(path: Path, images: int = 2000) -> None:
    with StoreWriter(path, Canvas(), Alphabet.of("A"), {}) as writer:
        for _ in range(images // 100):
            writer.append(np.full((100, 64, 64), 7, np.uint8), [Sample("A", "A", "real")] * 100)


def small_disk(work: Callable[[Path], None], place: Path, limit_bytes: int) -> int:
    """`work` in a fork that may write no larger file. Returns the number of its error, or 0."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails with EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
            work(place)
            code = 0
        except OSError as error:
            code = error.errno or 98
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("limit_bytes", [50, 128, 100_000, 8_000_000])
def test_a_store_that_finds_no_space_leaves_nothing(tmp_path: Path, limit_bytes: int) -> None:
    assert small_disk(lambda place: write_store(place / "store"), tmp_path, limit_bytes) == 27
    assert list(tmp_path.iterdir()) == []
    write_store(tmp_path / "store")
    assert len(Store.open(tmp_path / "store")) == 2000


def test_a_checkpoint_that_finds_no_space_keeps_the_ones_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checked(path, b"1" * 1000)
    save_checked(path, b"2" * 1000)
    assert small_disk(lambda _: save_checked(path, b"3" * 100_000), tmp_path, 50_000) == 27
    assert load_checked(path)[0] == b"2" * 1000
    save_checked(path, b"4" * 1000)
    assert load_checked(path)[0] == b"4" * 1000


MUST_MOUNT = "INKFILL_MUST_MOUNT"  # environment: a small disk that cannot be had is a failure
_MOUNT = ("mount", "-t", "tmpfs")
_AS_ROOT = ("unshare", "--map-root-user", "--mount")  # of a user and a mount namespace of its own


def on_a_small_disk(test: Callable[..., None]) -> Callable[..., None]:
    """For a test that has a `small_tmpfs`. Where this process may mount none it is run once more by
    another pytest, which may in its own namespaces; where that cannot be, it is skipped."""

    @wraps(test)
    def tried(*given: object, **named: object) -> None:
        try:
            test(*given, **named)
        except MayNotMountError:
            if not _succeeds(*_AS_ROOT, *_MOUNT, "none", tempfile.gettempdir()):
                refuse = pytest.fail if os.environ.get(MUST_MOUNT) else pytest.skip
                refuse(f"may not mount a small disk; {MUST_MOUNT}=1 makes this a failure")
            name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
            line = [*_AS_ROOT, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", name]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]

    return tried


def _succeeds(*line: str | Path) -> bool:
    try:
        return not subprocess.run(line, capture_output=True).returncode
    except FileNotFoundError:
        return False


@on_a_small_disk
def test_an_import_that_finds_no_space_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """The real command, on a disk of 1 MiB."""
    disk = tmp_path / "disk"
    with small_tmpfs(disk, "1m"):
        images = write_images(tmp_path / "images", {"A": 150, "B": 150})
        script = Path(__file__).parent.parent / "scripts" / "import_data.py"
        done = subprocess.run(
            [sys.executable, script, images, "--out", disk / "store", "--workers", "1"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "No space left" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert [p.name for p in disk.iterdir() if p.name != ".store.lock"] == []


class MayNotMountError(Exception):
    """Raised within a test `on_a_small_disk`."""


@contextmanager
def small_tmpfs(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of its own, so small. Yields what makes it larger."""
    folder.mkdir()
    if not _succeeds(*_MOUNT, "-o", f"size={size}", "none", folder):
        raise MayNotMountError

    def enlarge(to: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={to}", folder], check=True)

    try:
        yield enlarge
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the kill harness read, the model untrained."""
    import torch
    from kill_harness import FONTS, SCRIPTS

    from classifier.export import save_model
    from classifier.networks import build_network

    top = tmp_path_factory.mktemp("given")
    images = write_images(top / "images", {"A": 30, "B": 20, "other": 60})
    (images / "A" / "broken.png").write_bytes(b"no image")  # so that a list of them is written
    real = import_images(images, top / "real", None, Canvas())
    drawn = write_images(top / "drawn", {"A": 20, "B": 20}, first_seed=1000)
    others = import_images(drawn, top / "others", None, Canvas(), val_share=0)
    rows = [Sample(c, c, "font", origin=f"caveat:{c}") for c in others.column("label")]
    with StoreWriter(top / "font", Canvas(), real.alphabet, {}) as writer:
        writer.append(np.asarray(others.images), rows)
    (top / "fonts").mkdir()
    for name in FONTS:
        shutil.copy(SCRIPTS.parent / "assets" / "fonts" / name, top / "fonts")
    (top / "classifier").mkdir()
    torch.manual_seed(1)
    network = build_network("compact", 3)
    save_model(top / "classifier", network, "compact", real.alphabet, (), Canvas(), 0.5, {})
    return top


@pytest.mark.parametrize(
    ("stage", "size", "room"),
    [
        ("render", "256k", "64m"),
        ("predict csv", "4k", "1m"),
        ("predict jsonl", "4k", "1m"),
        ("predict parquet", "4k", "1m"),
        pytest.param("GAN", "1m", "400m", marks=pytest.mark.slow),
        pytest.param("classifier", "1m", "400m", marks=pytest.mark.slow),
    ],
)
@on_a_small_disk
def test_a_full_disk_ends_a_command_in_one_line_and_with_room_it_goes_on(
    tmp_path: Path, given: Path, stage: str, size: str, room: str
) -> None:
    from kill_harness import STAGES

    outputs = next(s for s in STAGES if s.name == stage)
    harness = Path(__file__).parent / "kill_harness.py"
    line = [sys.executable, harness, "--one", stage, "--given", given]
    with small_tmpfs(tmp_path / "disk", size) as larger:
        disk = tmp_path / "disk"
        full = subprocess.run(line, cwd=disk, capture_output=True, text=True)
        assert full.returncode == 1, full.stderr[-2000:]
        assert "No space left" in full.stderr.strip().splitlines()[-1], full.stderr[-2000:]
        assert not (disk / outputs.finished).exists()
        larger(room)
        done = subprocess.run(line, cwd=disk, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert all((disk / name).is_file() for name in outputs.outputs)


@pytest.mark.parametrize("how", ["mkdir", "open", "rename"])
def test_permission_lost_leaves_nothing(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a patch: tests may run as root, who may do everything."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "store")

    import synth.store

    before = {p.name for p in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        if how == "rename":
            patch.setattr(synth.store.os, "rename", refuse)
        else:
            original = getattr(Path, how)
            hit = [".store.partial", "images.npy"]
            patch.setattr(
                Path, how, lambda p, *a, **k: (refuse if p.name in hit else original)(p, *a, **k)
            )
        with pytest.raises(PermissionError):
            write_store(tmp_path / "store")
    assert {p.name for p in tmp_path.iterdir()} == before
    write_store(tmp_path / "store")


def test_two_writers_of_one_store(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", Canvas(), Alphabet.of("A"), {}) as first:
        with pytest.raises(InputError, match=r"store.*another process is writing"):
            write_store(tmp_path / "store")
        first.append(np.zeros((1, 64, 64), np.uint8), [Sample("A", "A", "real")])
    assert len(Store.open(tmp_path / "store")) == 1


def test_a_damaged_newest_checkpoint_does_not_push_out_the_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found so: newest damaged, resumed from the one before, killed in the next save: both lost."""
    import synth.files

    path = tmp_path / "last.ckpt"
    save_checked(path, b"good")
    save_checked(path, b"newer")
    path.write_bytes(b"torn by the disk")
    assert load_checked(path)[0] == b"good"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synth.files, "write_whole", killed)
        save_checked(path, b"newest")
    assert load_checked(path)[0] == b"good"


def test_the_clock_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by a year between writing and reading, and files from the future."""
    images = write_images(tmp_path / "images", {"A": 6, "B": 6})
    one = import_images(images, tmp_path / "one", None, Canvas())
    save_checked(tmp_path / "last.ckpt", b"1")
    future = time.time() + 3e8
    for path in (*images.rglob("*.png"), tmp_path / "last.ckpt"):
        os.utime(path, (future, future))
    monkeypatch.setattr(time, "time", lambda: 1.0)
    save_checked(tmp_path / "last.ckpt", b"2")
    assert load_checked(tmp_path / "last.ckpt")[0] == b"2"
    two = import_images(images, tmp_path / "two", None, Canvas())
    for name in ("images.npy", "samples.parquet"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_two_predictions_to_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_script: Callable[[str], ModuleType]
) -> None:
    """The second would write into the first one's unfinished table."""
    from classifier import predict

    def must_not_run(*_: object) -> None:
        raise AssertionError("it began to answer")

    monkeypatch.setattr(predict, "open_model", lambda *_: None)
    monkeypatch.setattr(predict, "open_table", must_not_run)
    images = write_images(tmp_path / "images", {"A": 1})
    script = load_script("predict")
    arguments = f"--model {tmp_path} --images {images} --out {tmp_path / 'p.csv'}".split()
    lock = lock_output(tmp_path / "p.csv")
    try:
        assert run(script.options(), script.main, arguments) == 2
    finally:
        lock.release()
    assert not (tmp_path / "p.csv").exists()


def test_write_whole_into_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "a", b"x")


# ---- permission, and the clock, in the middle of a training ----


def refused(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", "last.ckpt")


@pytest.mark.parametrize("how", ["open", "replace"])
def test_a_checkpoint_that_may_not_be_written_leaves_the_one_before(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    save_checked(path, b"first")
    original = getattr(Path, how)

    def partly(place: Path, *given: object, **named: object) -> object:
        if place.name == ".last.ckpt.partial":
            refused()
        return original(place, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, how, partly)
        with pytest.raises(PermissionError):
            save_checked(path, b"second")
    assert load_checked(path)[0] == b"first"
    save_checked(path, b"third")
    assert load_checked(path)[0] == b"third"


@pytest.mark.filterwarnings("ignore")  # of what torch and Lightning deprecate
def test_a_training_goes_on_as_if_neither_permission_nor_time_had_been_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint may not be written; the run goes on a year earlier, in which each look
    at the clock is an hour before the last."""
    from test_classifier_train import _config, _store

    import synth.learning
    from classifier.train import train

    real = _store(tmp_path / "real", "real", "ABC", 10)
    font = _store(tmp_path / "font", "font", "ABCXYZ", 8)
    config = _config(steps=24)
    monkeypatch.setattr("classifier.train.refuse_copies", lambda real: None)  # drawn too alike
    monkeypatch.setattr("classifier.train.refuse_leaks", lambda *stores: None)
    whole = tmp_path / "whole"
    train(real, [font], whole, config, 1, {})
    saved: list[Path] = []

    def second_refused(path: Path, data: bytes) -> None:
        saved.append(path)
        if len(saved) == 2:
            refused()
        save_checked(path, data)

    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(synth.learning, "save_checked", second_refused)
        with pytest.raises(PermissionError):
            train(real, [font], broken, config, 1, {})
    assert not (broken / "model.json").exists()
    clock = iter(range(int(time.time()) - 365 * 86400, 0, -3600))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        train(real, [font], broken, config, 1, {})
    for name in ("model.safetensors", "mix.txt"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_predictions_that_may_not_be_written_leave_nothing(
    tmp_path: Path,
    given: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_script("predict")
    words = f"--model {given / 'classifier'} --images {given / 'images'} --workers 1 --out".split()
    with monkeypatch.context() as patch:
        patch.setattr("classifier.tables._Csv.write", refused)
        assert run(script.options(), script.main, [*words, str(tmp_path / "p.csv")]) == 1
    assert "Permission denied" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p != given] == []
    assert run(script.options(), script.main, [*words, str(tmp_path / "p.csv")]) == 0


def test_two_trainings_of_one_gan(
    tmp_path: Path,
    given: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import gan.train

    class Room:
        alphabet = Store.open(given / "real").alphabet
        coverages: tuple = ()

    monkeypatch.setattr(gan.train.Studio, "prepare", lambda *_, **__: Room)
    script = load_script("train_gan")
    words = ["--real", str(given / "real"), "--out", str(tmp_path / "gan"), "--preset", "demo"]
    lock = lock_output(tmp_path / "gan")
    try:
        assert run(script.options(), script.main, words) == 2
    finally:
        lock.release()
    assert "gan.lock: another process is writing this output" in capsys.readouterr().err
    assert not (tmp_path / "gan").exists()
