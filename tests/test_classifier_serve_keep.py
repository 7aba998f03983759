"""Kept answers: what was sent and said, rotating, never in the way of an answer."""

import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from prometheus_client import Counter
from running_service import wait_for
from test_bad_writes import on_a_small_disk, small_tmpfs
from toy_model import LINES, drawing

from classifier.card import Prediction
from classifier.serve import keep as module
from classifier.serve.keep import Answered, Keeper
from classifier.serve.metrics import Metrics
from synth.canvas import Canvas
from synth.corpus import import_images
from synth.decode import encode
from synth.errors import InputError


def answered(number: int, label: str, file: bytes = b"\x89PNG") -> Answered:
    return Answered(f"id{number:05d}", file, Prediction(label, 0.9, 0.1, ()), 0.0)


BYTES = 2**30


def counted(counter: Counter, outcome: str) -> float:
    return counter.labels(outcome)._value.get()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """All is written at the end, however slow the disk is."""
    monkeypatch.setattr(module, "CLOSE_S", 60.0)


def held(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Its disk does nothing until this is set."""
    go, write = threading.Event(), keeper._write

    def held_until_then(a: Answered) -> None:
        assert go.wait(60)
        write(a)

    monkeypatch.setattr(keeper, "_write", held_until_then)
    return go


def test_a_folder_of_kept_answers_can_be_imported_as_labelled_images(tmp_path):

    keeper = Keeper(tmp_path / "kept", 1000, BYTES, Metrics())
    labels = [*LINES] * 2
    for i, char in enumerate(labels):
        ink = 255 - np.asarray(drawing(LINES[char], 70 + i, 5 + i % 3))
        keeper.put(answered(i, char, encode(ink)))
    keeper.close()
    (folder,) = (tmp_path / "kept").glob("0*")
    rows = [json.loads(x) for x in (folder / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [r["label"] for r in rows] == labels
    assert all((folder / r["file"]).is_file() for r in rows)
    assert rows[0]["time"] == "1970-01-01T00:00:00Z" and rows[0]["confidence"] == 0.9
    with Image.open(folder / rows[0]["file"]) as image:
        assert image.size == (70, 70)
    store = import_images(folder, tmp_path / "store", None, Canvas())
    assert set(store.column("label")) == set(LINES)


def test_the_oldest_folders_go(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PER_FOLDER", 3)
    metrics = Metrics()
    for start in (0, 10):  # two runs of the server: the second goes on
        keeper = Keeper(tmp_path, 6, BYTES, metrics)
        for i in range(start, start + 10):
            keeper.put(answered(i, "other"))
        keeper.close()
    kept = sorted(p.name for p in tmp_path.rglob("*.png"))
    assert kept == [f"id{i:05d}_other.png" for i in range(16, 20)]
    assert [p.name for p in sorted(tmp_path.glob("0*"))] == ["00000007", "00000008"]
    assert counted(metrics.kept, "written") == 20


def test_a_slow_disk_drops_answers_and_holds_nobody_up(tmp_path, monkeypatch):
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, BYTES, metrics)
    go = held(keeper, monkeypatch)
    monkeypatch.setattr(keeper._queue, "maxsize", 5)
    keeper.put(answered(0, "一"))
    wait_for(keeper._queue.empty)  # the disk has it, and will not come back
    for i in range(1, 50):
        keeper.put(answered(i, "一"))  # returns nevertheless
    assert counted(metrics.kept, "dropped") == 44 and not counted(metrics.kept, "written")
    go.set()
    keeper.close()
    assert counted(metrics.kept, "written") == 6 and counted(metrics.kept, "dropped") == 44
    assert sorted(p.name[:7] for p in tmp_path.rglob("*.png")) == [f"id{i:05d}" for i in range(6)]


def test_a_full_disk_is_told_once_and_the_next_answer_is_kept(tmp_path, monkeypatch, caplog):
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, BYTES, metrics)
    write, full = keeper._write, [True]

    def failing(a):
        if full[0]:
            raise OSError(28, "No space left on device")
        write(a)

    monkeypatch.setattr(keeper, "_write", failing)
    for i in range(4):
        keeper.put(answered(i, "一"))
    limit = time.monotonic() + 10
    while counted(metrics.kept, "failed") < 4:
        assert time.monotonic() < limit
        time.sleep(0.01)
    full[0] = False
    keeper.put(answered(9, "一"))
    keeper.close()
    assert caplog.text.count("No space left") == 1
    assert counted(metrics.kept, "written") == 1


def test_a_fault_that_is_not_the_disks_ends_nothing(tmp_path, caplog):
    """It ended the thread: nothing was kept from then on, and the end waited for it."""
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, BYTES, metrics)
    keeper.put(answered(0, "\udc80"))  # no UTF-8
    keeper.put(answered(1, "一"))
    keeper.close()
    assert [p.name for p in tmp_path.rglob("*.png")] == ["id00001_一.png"]
    assert (counted(metrics.kept, "failed"), counted(metrics.kept, "written")) == (1, 1)
    assert "surrogates not allowed" in caplog.text and "Traceback" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("way", ["hangs", "ended"])
def test_a_writer_that_hangs_or_has_ended_holds_no_shutdown_up(tmp_path, monkeypatch, caplog, way):
    monkeypatch.setattr(module, "CLOSE_S", 0.3)
    keeper, go = Keeper(tmp_path, 1000, BYTES, Metrics()), threading.Event()

    def write(a: Answered) -> None:
        if way == "ended":
            raise SystemExit
        assert go.wait(60)

    monkeypatch.setattr(keeper, "_write", write)
    monkeypatch.setattr(keeper._queue, "maxsize", 2)
    keeper.put(answered(0, "一"))
    wait_for(keeper._queue.empty)
    if way == "ended":
        keeper._thread.join(20)
    for i in range(3):
        keeper.put(answered(1 + i, "一"))
    started = time.monotonic()
    keeper.close()
    assert time.monotonic() - started < 20  # of the 60 that it hangs
    assert "stopped with 3 answers not kept" in caplog.text
    if way == "hangs":  # it may still write
        with pytest.raises(InputError, match="another service keeps its answers there"):
            Keeper(tmp_path, 1000, BYTES, Metrics())
    go.set()


def test_names_and_places_that_cannot_be(tmp_path):
    keeper = Keeper(tmp_path / "kept", 1000, BYTES, Metrics())
    keeper.put(answered(1, "/", b"GIF89a"))
    keeper.close()
    assert [p.name for p in tmp_path.rglob("id*")] == ["id00001_U+002F.gif"]
    with pytest.raises(InputError, match="--keep-answers 10"):
        Keeper(tmp_path, 10, BYTES, Metrics())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--keep"):
        Keeper(tmp_path / "file", 1000, BYTES, Metrics())


def test_bytes_have_a_limit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_BYTES", 1)
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, 40_000, metrics)
    most = 0
    for i in range(100):  # a large one, a small one
        keeper.put(answered(i, "一", b"\x89PNG" + bytes(996)))
        keeper.put(answered(1000 + i, "一"))
        limit = time.monotonic() + 10
        while counted(metrics.kept, "written") < 2 * i + 2:
            assert time.monotonic() < limit
            time.sleep(0.001)
        most = max(most, sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()))
    keeper.close()
    kept = sorted(p.name for p in tmp_path.rglob("*.png"))
    assert 20_000 < most <= 40_000  # a folder is a fourth
    assert (
        kept[-1] == "id01099_一.png" and "id00099_一.png" in kept and "id00000_一.png" not in kept
    )
    assert len(list(tmp_path.glob("0*"))) >= 3
    with pytest.raises(InputError, match="--keep-bytes 0"):
        Keeper(tmp_path, 1000, 0, Metrics())


def test_one_answer_larger_than_a_folders_share_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_BYTES", 1)
    keeper = Keeper(tmp_path, 1000, 10_000, Metrics())
    for i in range(5):
        keeper.put(answered(i, "一", b"\x89PNG" + bytes(4000)))
    keeper.close()
    assert sorted(p.name[:7] for p in tmp_path.rglob("*.png")) == ["id00003", "id00004"]


def test_many_restarts_with_few_answers_each_lose_none(tmp_path):
    """A folder each: they are counted by what is in them."""
    for i in range(8):
        keeper = Keeper(tmp_path, 1000, BYTES, Metrics())
        keeper.put(answered(i, "一"))
        keeper.close()
    assert len(list(tmp_path.rglob("*.png"))) == 8


def test_a_disk_that_stays_full_costs_no_old_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PER_FOLDER", 3)
    keeper = Keeper(tmp_path, 3, BYTES, Metrics())
    keeper.put(answered(0, "一"))
    keeper.close()
    keeper = Keeper(tmp_path, 3, BYTES, Metrics())

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    for i in range(20):
        keeper.put(answered(1 + i, "一"))
    keeper.close()
    assert [p.name for p in tmp_path.rglob("*.png")] == ["id00000_一.png"]


@on_a_small_disk
def test_a_real_full_disk_leaves_no_part_of_an_answer(tmp_path):
    """Empty and cut files were left, which nothing counted, and an import would have refused."""
    metrics = Metrics()
    with small_tmpfs(tmp_path / "disk", "1m") as enlarge:
        keeper = Keeper(tmp_path / "disk", 1000, BYTES, metrics)
        files = [b"\x89PNG" + bytes([i]) * 30_000 for i in range(60)]
        for i, file in enumerate(files):
            keeper.put(answered(i, "一", file))
        wait_for(lambda: sum(counted(metrics.kept, x) for x in ("written", "failed")) == 60)
        enlarge("4m")
        keeper.put(answered(60, "一", b"\x89PNG" + b"z" * 30_000))
        keeper.close()
        kept = sorted((tmp_path / "disk").rglob("*.png"))
        (table,) = (tmp_path / "disk").rglob("answers.jsonl")
        rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
        assert counted(metrics.kept, "failed") >= 20
        assert len(kept) == counted(metrics.kept, "written") >= 20
        assert {p.stat().st_size for p in kept} == {30_004}
        assert sorted(r["file"] for r in rows) == [p.name for p in kept]
        assert kept[-1].name == "id00060_一.png"


def test_a_second_service_is_refused_by_the_folders_name(tmp_path):
    """Both would write to folders of the same numbers, and each remove what the other counts on."""
    keeper = Keeper(tmp_path / "kept", 1000, BYTES, Metrics())
    with pytest.raises(InputError, match=r"--keep .*kept: another service keeps its answers there"):
        Keeper(tmp_path / "kept", 1000, BYTES, Metrics())
    keeper.put(answered(1, "一"))
    keeper.close()
    Keeper(tmp_path / "kept", 1000, BYTES, Metrics()).close()
    assert len(list(tmp_path.rglob("*.png"))) == 1


def test_large_answers_that_wait_for_the_disk_have_a_limit_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 10_000)
    metrics = Metrics()
    keeper = Keeper(tmp_path, 1000, BYTES, metrics)
    go = held(keeper, monkeypatch)
    for i in range(9):
        keeper.put(answered(i, "一", bytes(4000)))
    assert counted(metrics.kept, "dropped") == 7
    go.set()
    wait_for(lambda: counted(metrics.kept, "written") == 2)
    keeper.put(answered(9, "一", bytes(4000)))  # there is room again
    keeper.close()
    assert counted(metrics.kept, "written") == 3


def test_an_answer_that_cannot_stand_in_a_name_is_imported_as_it_was(tmp_path):
    keeper = Keeper(tmp_path / "kept", 1000, BYTES, Metrics())
    labels = [*'/\\.:*?"<>|', "一"]
    for i, label in enumerate(labels):
        ink = 255 - np.asarray(drawing(LINES["一"], 70 + i))
        keeper.put(answered(i, label, encode(ink)))
    keeper.close()
    (folder,) = (tmp_path / "kept").glob("0*")
    store = import_images(folder, tmp_path / "store", None, Canvas())
    assert sorted(store.column("label")) == sorted(labels)


def test_a_folder_that_cannot_be_removed_leaves_the_bound_to_the_others(
    tmp_path, monkeypatch, caplog
):
    """Nothing went any more, and all was written: until the disk was full."""
    monkeypatch.setattr(module, "PER_FOLDER", 3)
    removed, stuck = module.shutil.rmtree, [True]

    def rmtree(path, ignore_errors):
        if not (stuck[0] and path.name == "00000001"):
            removed(path, ignore_errors)

    monkeypatch.setattr(module.shutil, "rmtree", rmtree)
    metrics = Metrics()
    keeper = Keeper(tmp_path, 9, BYTES, metrics)
    for i in range(20):
        keeper.put(answered(i, "一"))
    wait_for(lambda: counted(metrics.kept, "written") == 20)
    folders = sorted(p.name for p in tmp_path.glob("0*"))
    assert folders == ["00000001", "00000006", "00000007"]
    keeper.close()
    keeper = Keeper(tmp_path, 3, BYTES, metrics)  # it alone has as many as there may be
    keeper.put(answered(20, "一"))
    wait_for(lambda: counted(metrics.kept, "failed") == 1)
    assert "00000001 cannot be removed" in caplog.text
    stuck[0] = False
    keeper.put(answered(21, "一"))
    keeper.close()
    assert [p.name for p in tmp_path.rglob("*.png")] == ["id00021_一.png"]
