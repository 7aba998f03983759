"""Damaged and hostile .zip, .tar and .gnt files: refused or read in part, nothing outside."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import draw_strokes

from synth.canvas import Canvas
from synth.corpus import import_images

MEMORY_MIB = 700
SEEN = {"data.zip", "data.tar", "data.gnt", "out"}


def imports(case: tuple[str, bytes]) -> str:
    """The whole import, and nothing left beside the store."""
    ending, data = case
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "a" / "b"
        place.mkdir(parents=True)
        (place / f"data.{ending}").write_bytes(data)
        try:
            store = import_images(place / f"data.{ending}", place / "out", None, Canvas())
        finally:
            assert {p.name for p in place.iterdir()} <= SEEN
            assert [p.name for p in place.parent.iterdir()] == ["b"]
        assert len(store)
        return "in part" if store.info["notes"]["skipped"] else "whole"


def image(seed: int) -> bytes:
    buffer = io.BytesIO()
    draw_strokes(seed, size_px=32).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for number, label in enumerate("永國AB"):
            archive.writestr(f"set/{label}/{number}.png", image(number))
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, label in enumerate("永國AB"):
            for ending, data in (("png", image(number)), ("txt", label.encode())):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def gnt() -> bytes:
    parts = []
    for number, label in enumerate("永國文字"):
        pixels = np.asarray(draw_strokes(number, size_px=32))
        code = label.encode("gbk")
        parts.append(struct.pack("<I2sHH", 10 + pixels.size, code, 32, 32) + pixels.tobytes())
    return b"".join(parts)


def hostile() -> Iterator[Case]:
    names = ["../x.png", "/x.png", "A/../../x.png", "A\\..\\x.png", "C:/x.png", "A/./x.png"]
    names += [
        "A//x.png",
        "./A/x.png",
        "A/" + "n" * 5000 + ".png",
        "A/\x1b[31m.png",
        "A/\u202egnp.x.png",
    ]
    for name in names:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, image(1))
        yield f"zip member {name[:20]!r}", ("zip", buffer.getvalue())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for ending, data in (("png", image(1)), ("txt", b"A")):
                member = tarfile.TarInfo(name.removesuffix("png") + ending)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        yield f"tar member {name[:20]!r}", ("tar", buffer.getvalue())
    for kind in (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("0.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        yield f"tar type {kind!r}", ("tar", buffer.getvalue())
    for mode in (stat.S_IFLNK, stat.S_IFIFO):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            info = zipfile.ZipInfo("A/x.png")
            info.external_attr = (mode | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        yield f"zip mode {mode:o}", ("zip", buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(
            3
        ):  # each beyond the limit of a file, 1000 times smaller in the archive
            archive.writestr(f"A/{number}.png", bytes(70 * 2**20))
    yield "zip of 210 MiB of zeros", ("zip", buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A/0.png", image(0))
        archive.writestr("samples.jsonl", b"[" * 2_000_000)
    yield "a table of two million brackets", ("zip", buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"A/{number}.txt", b"")
    yield "20,000 members that are no images", ("zip", buffer.getvalue())
    yield "gnt of a huge size", ("gnt", struct.pack("<I2sHH", 2**32 - 1, b"\xb0\xa1", 65535, 65535))
    yield "gnt of no size", ("gnt", struct.pack("<I2sHH", 10, b"\xb0\xa1", 0, 0) * 1000)


@pytest.mark.slow  # seconds, for the bomb is packed and unpacked
def test_hostile_archives() -> None:
    outcomes = try_all(imports, list(hostile()), MEMORY_MIB, each_s=20)
    assert outcomes["refused"] >= 15, outcomes


@pytest.mark.parametrize("each", [7, pytest.param(80, marks=pytest.mark.slow)])
def test_damaged_archives(each: int) -> None:
    files = [
        ("zip", zipped()),
        ("zip", zipped(zipfile.ZIP_STORED)),
        ("tar", tarred()),
        ("gnt", gnt()),
    ]
    assert try_all(imports, [(e, (e, d)) for e, d in files], MEMORY_MIB) == {"whole": 4}
    cases = [
        (f"{ending}, {what}", (ending, data))
        for ending, good in files
        for what, data in mutations(good, each, seed=each)
    ]
    outcomes = try_all(imports, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 10, outcomes
