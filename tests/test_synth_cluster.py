"""Rendering on a Dask cluster of real processes: the same bytes, and clear words where it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synth import cluster
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.cluster import render_on
from synth.errors import InputError
from synth.files import sha256_of
from synth.fonts import ASSETS, Font, FontFile, find_fonts, open_font
from synth.plan import Plan, make_plan
from synth.quota import Quota
from synth.render import render
from synth.style import Style

ROOT = Path(__file__).resolve().parent.parent
CHARS = "永國一三口心風的我未"


def plan_of(per_class: int) -> Plan:
    alphabet = Alphabet.of(CHARS)
    files = [f for f in find_fonts() if f.name in ("klee-one", "tw-kai", "zen-kurenaido")]
    have = [open_font(f).coverage(CHARS) for f in files]
    quota = Quota(0, dict.fromkeys(CHARS, per_class), 0, {})
    return make_plan(alphabet, have, {}, quota, Style(), Canvas(), 7)


def start(*words: str, code: str = "") -> subprocess.Popen:
    """`dask` with these words; `code` is run before it."""
    run = f"import sys; {code}\nfrom dask.__main__ import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", run, *words],
        cwd=ROOT,
        env={**os.environ, "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two worker processes."""
    folder = tmp_path_factory.mktemp("dask")
    card = folder / "scheduler.json"
    started = [
        start(
            *f"scheduler --host 127.0.0.1 --port 0 --no-dashboard --scheduler-file {card}".split()
        )
    ]
    try:
        until = time.monotonic() + 120
        while not card.is_file() or not card.read_text():
            assert time.monotonic() < until and started[0].poll() is None
            time.sleep(0.2)
        found = json.loads(card.read_text())["address"]
        line = f"worker {found} --nthreads 1 --no-nanny --no-dashboard --local-directory {folder}"
        started += [start(*line.split()) for _ in range(2)]
        yield found
    finally:
        for process in reversed(started):  # workers first: without a scheduler they wait for it
            process.kill()
            process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # whatever Dask's own code warns of
def test_two_workers_of_a_cluster_write_the_same_bytes(address: str) -> None:
    from distributed import Client

    plan = plan_of(200)
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    alone, there = list(render(plan)), list(render_on(address, plan))
    assert len(alone) == len(there) > 4
    for (images, samples), (theirs, their_samples) in zip(alone, there, strict=True):
        assert (images == theirs).all()
        assert repr(samples) == repr(their_samples)  # a NaN is not equal to itself

    with Client(address, set_as_default=False) as client:
        drew = client.run(lambda: cluster._unpacked.cache_info().misses)
    assert len(drew) == 2 and all(drew.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_worker_with_another_font_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = cluster._packed
    monkeypatch.setattr(
        cluster, "_packed", lambda plan: replace(packed(plan), digests=("0" * 64,) * 3)
    )
    with pytest.raises(InputError, match=r"a worker has no .*klee-one.*or another version of it"):
        next(render_on(address, plan_of(1)))


@pytest.mark.filterwarnings("default")
def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WAIT_S", 1.0)
    with pytest.raises(InputError, match="no Dask scheduler there") as caught:
        next(render_on("tcp://127.0.0.1:9", plan_of(1)))
    assert "\n" not in str(caught.value)


def test_a_packed_plan_unpacks_to_itself_wherever_the_fonts_lie() -> None:
    plan = plan_of(3)
    parcel = cluster._packed(plan)
    assert all(parcel.own) and not any(f.path.is_absolute() for f in parcel.plan.fonts)
    back = cluster._unpacked(parcel)
    assert back.fonts == plan.fonts
    pairs = zip(render(plan), render(back), strict=True)
    assert all(np.array_equal(a[0], b[0]) and repr(a[1]) == repr(b[1]) for a, b in pairs)


def test_a_font_that_was_replaced_is_opened_anew_by_a_worker_that_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.woff"

    def plan_with(name: str) -> Plan:
        path.write_bytes((ASSETS / name).read_bytes())
        os.utime(path, ns=(0, next(times)))
        have = [Font(FontFile(path)).coverage(CHARS)]  # not the one that is kept
        quota = Quota(0, dict.fromkeys(CHARS, 1), 0, {})
        return make_plan(Alphabet.of(CHARS), have, {}, quota, Style(), Canvas(), 7)

    times = iter(range(10**9, 10**10, 10**9))
    drawn = []
    for name in ("klee-one.woff", "tw-kai.woff"):
        parcel = cluster._packed(plan_with(name))
        assert parcel.digests == (sha256_of(path),)
        drawn.append(cluster._rendered(parcel, 0, len(CHARS))[0])
    fresh = Font(FontFile(path))
    assert open_font(FontFile(path)).stamp == fresh.stamp
    assert not np.array_equal(*drawn)
    kept = open_font(FontFile(path))
    cluster._unpacked(cluster._packed(plan_of(1)))
    assert open_font(FontFile(path)) is kept  # nothing changed: nothing is closed


@pytest.mark.parametrize("name", ["FreeType", "inkfill's code", "numpy", "scipy", "PIL", "cv2"])
def test_a_worker_that_may_draw_other_pixels_is_refused(name: str) -> None:
    parcel = cluster._packed(plan_of(1))
    other = {**parcel.versions, name: "0.1"}
    with pytest.raises(
        InputError, match=rf"^a worker has {name} \S+, wanted 0\.1; install the same"
    ):
        cluster._unpacked(replace(parcel, versions=other))


def test_the_code_of_a_worker_is_that_of_all_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cluster._code()
    shutil.copytree(ROOT / "synth", tmp_path / "synth", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(cluster, "__file__", str(tmp_path / "synth" / "cluster.py"))
    code = cluster._code.__wrapped__
    assert code() == here
    paper = tmp_path / "synth" / "paper.py"
    source = paper.read_text("utf-8")
    paper.write_text(source + "# another version\n", "utf-8")
    assert code() != here
    paper.write_text(source, "utf-8")
    (tmp_path / "synth" / "variants.py").unlink()
    assert code() != here


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'synth'"), MemoryError(), OSError("one\ntwo")]
)
def test_whatever_a_worker_raises_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(InputError, match=rf"^--cluster tcp://a:1: .*{type(error).__name__}") as told,
        cluster._failures_told("tcp://a:1"),
    ):
        raise error
    assert "\n" not in str(told.value)


def test_what_the_user_can_mend_keeps_its_words() -> None:
    with pytest.raises(InputError, match=r"^a worker has no font$"), cluster._failures_told("x"):
        raise InputError("a worker has no font")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "code, why",
    [
        ("sys.modules['synth'] = None", "ModuleNotFoundError.*synth"),
        (
            "import os, synth.cluster; synth.cluster._unpacked = lambda parcel: os._exit(1)",
            "(KilledWorker|CancelledError)",  # the latter where the plan was sent to no other one
        ),
    ],
    ids=["no project", "killed"],
)
def test_a_worker_that_cannot_render_is_one_line(tmp_path: Path, code: str, why: str) -> None:
    card = tmp_path / "scheduler.json"
    line = f"scheduler --host 127.0.0.1 --port 0 --no-dashboard --scheduler-file {card}"
    started = [start(*line.split())]
    try:
        until = time.monotonic() + 120
        while not card.is_file() or not card.read_text():
            assert time.monotonic() < until and started[0].poll() is None
            time.sleep(0.2)
        address = json.loads(card.read_text())["address"]
        line = f"worker {address} --nthreads 1 --no-nanny --no-dashboard"
        for number in range(5):  # a task that ends four of them is given up
            folder = ["--local-directory", str(tmp_path / str(number))]
            started.append(start(*line.split(), *folder, code=code))
        with pytest.raises(InputError, match=rf"^--cluster {address}: .*{why}") as told:
            list(render_on(address, plan_of(1)))
        assert "\n" not in str(told.value)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait(timeout=60)
