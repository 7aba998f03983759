"""Files that are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synth import files
from synth.errors import InputError
from synth.files import has_checkpoint, load_checked, save_checked, write_text, write_whole


def test_writes_and_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_whole(target, b"one")
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    write_text(tmp_path / "b.txt", "永\n")
    assert (tmp_path / "b.txt").read_bytes() == "永\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "b.txt"]


def test_a_write_that_fails_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    write_whole(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"


def test_a_checkpoint_comes_back_and_the_one_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    assert not has_checkpoint(path)
    for data in (b"first", b"second", b"third"):
        save_checked(path, data)
        assert load_checked(path) == (data, path) and has_checkpoint(path)
    previous = path.with_name("last.ckpt.previous")
    path.unlink()
    assert load_checked(path) == (b"second", previous) and has_checkpoint(path)


@pytest.mark.parametrize("damage", ["short", "bit", "empty", "header", "other"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    save_checked(path, b"a" * 5000)
    save_checked(path, b"b" * 5000)
    raw = path.read_bytes()
    broken = {
        "short": raw[:-1],
        "bit": raw[:2000] + bytes([raw[2000] ^ 1]) + raw[2001:],
        "empty": b"",
        "header": raw[:20],
        "other": b"PK\3\4" + raw[4:],
    }
    path.write_bytes(broken[damage])
    assert load_checked(path) == (b"a" * 5000, path.with_name("last.ckpt.previous"))


def test_nothing_whole_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(InputError, match=r"last\.ckpt: no checkpoint"):
        load_checked(path)
    save_checked(path, b"x")
    path.write_bytes(b"torn")
    with pytest.raises(InputError, match=r"damaged \(last\.ckpt\)"):
        load_checked(path)


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """One that the killed process saved: it has saved one when the kill comes, and saves on."""
    path = tmp_path / "last.ckpt"
    code = (
        "import sys\nfrom pathlib import Path\nfrom synth.files import save_checked\n"
        "for i in range(10**6):\n"
        "    save_checked(Path(sys.argv[1]), bytes([1 + i % 251]) * 2_000_000)\n"
        "    i or print('saved', flush=True)\n"
    )
    for wait in (0.15, 0.31, 0.47):
        path.with_name("last.ckpt.previous").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        save_checked(path, b"\0" * 2_000_000)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "saved\n"
            time.sleep(wait)
            process.kill()
        data, _ = load_checked(path)
        assert len(data) == 2_000_000 and len(set(data)) == 1 and data[0] != 0
