"""A store goes to another place and comes back the same, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import fsspec
import numpy as np
import pytest

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.errors import InputError
from synth.remote import FILES, fetch_store, send_store
from synth.store import Sample, Store, StoreWriter, lock_output


@pytest.fixture
def store(tmp_path: Path) -> Store:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16), np.uint8)
    with StoreWriter(tmp_path / "s", Canvas(size_px=16), Alphabet.of("AB"), {"seed": 1}) as writer:
        writer.append(images, [Sample("A", "A", "real", origin=f"{i}.png") for i in range(5)])
    return Store.open(tmp_path / "s")


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL where nothing is."""
    if request.param == "file":
        return f"file://{tmp_path}/far/away"
    fsspec.filesystem("memory").store.clear()
    return "memory://bucket/away"


def test_there_and_back(store: Store, place: str, tmp_path: Path) -> None:
    send_store(store, place)
    back = fetch_store(place, tmp_path / "back")
    for name in FILES:
        assert (back.path / name).read_bytes() == (store.path / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == sorted(FILES)
    with pytest.raises(InputError, match="finished store is there already"):
        send_store(store, place)
    with pytest.raises(InputError, match="finished store is there already"):
        fetch_store(place, tmp_path / "back")


@pytest.mark.parametrize("name", FILES)
def test_what_is_not_whole_is_refused_and_leaves_nothing(
    store: Store, place: str, tmp_path: Path, name: str
) -> None:
    send_store(store, place)
    system, path = fsspec.core.url_to_fs(place)
    system.rm(f"{path}/{name}")
    with pytest.raises(InputError, match=f"no store .no {name} in it"):
        fetch_store(place, tmp_path / "back")
    assert not list(tmp_path.glob("*back*")) and not list(tmp_path.glob(".*back*"))


def test_another_pixel_on_the_way_is_found(store: Store, place: str, tmp_path: Path) -> None:
    send_store(store, place)
    system, path = fsspec.core.url_to_fs(place)
    data = bytearray(system.cat_file(f"{path}/images.npy"))
    data[-1] ^= 1
    system.pipe_file(f"{path}/images.npy", bytes(data))
    with pytest.raises(InputError, match=r"image 4 \(4.png\) is not the one that was") as error:
        fetch_store(place, tmp_path / "back")
    assert str(error.value).startswith(f"{place}/images.npy: ") and ".back" not in str(error.value)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("call", ["get_file", "exists", "makedirs", "put_file"])
def test_whatever_a_place_raises_is_one_line(
    store: Store, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the packages of buckets do, with errors of their own."""

    class ClientError(Exception):
        pass

    def fails(*_: object, **__: object) -> None:
        raise ClientError("An error occurred (403)\nwhen calling")

    fsspec.filesystem("memory").store.clear()
    url = "memory://bucket/away"
    if call == "get_file":
        send_store(store, url)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), call, fails)
    with pytest.raises(InputError) as error:
        fetch_store(url, tmp_path / "back") if call == "get_file" else send_store(store, url)
    assert str(error.value) == f"{url}: An error occurred (403) when calling"
    assert not list(tmp_path.glob("*back*")) and not list(tmp_path.glob(".*back*"))


def test_two_copies_to_one_folder(store: Store, place: str, tmp_path: Path) -> None:
    send_store(store, place)
    lock = lock_output(tmp_path / "back")
    try:
        with pytest.raises(InputError, match="another process"):
            fetch_store(place, tmp_path / "back")
    finally:
        lock.release()


def test_the_command(
    store: Store,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, far, back = load_script("copy_store"), f"file://{tmp_path}/far", str(tmp_path / "back")

    def asked(*words: str) -> tuple[int, str]:
        code = run(script.options(), script.main, [*words])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert asked(str(store.path), far) == (0, f"{far}: 5 images\n")
    assert asked(far, back) == (0, f"{back}: 5 images\n")
    assert Store.open(Path(back)).content == store.content
    for words in ((str(store.path), back), (far, far)):
        code, told = asked(*words)
        assert code == 2 and "must be a URL" in told
    code, told = asked("nowhere://x/y", str(tmp_path / "none"))
    assert code == 2 and "nowhere" in told and len(told.strip().splitlines()) == 1
