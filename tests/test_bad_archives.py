"""Damaged and hostile .zip, .tar and .gnt files: refused or read in part, nothing outside."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import draw_strokes

from synth.canvas import NO_MEMORY, Canvas
from synth.corpus import import_images, opened

MEMORY_MIB = 700


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
            assert {p.name for p in place.iterdir()} <= {f"data.{ending}", "out"}
            assert [p.name for p in place.parent.iterdir()] == ["b"]
        assert len(store)
        skipped = store.info["notes"]["skipped"]
        assert NO_MEMORY not in str(skipped), skipped
        return "in part" if skipped else "whole"


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
    whole = [(ending, (ending, good)) for ending, good in files]
    assert try_all(imports, whole, MEMORY_MIB, good=True) == {"whole": 4}
    cases = [
        (f"{ending}, {what}", (ending, data))
        for ending, good in files
        for what, data in mutations(good, each, seed=each)
    ]
    outcomes = try_all(imports, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 10, outcomes


def test_a_zip_that_holds_more_than_it_says(tmp_path: Path) -> None:
    """1,000 bytes by its directory, with the checksum of those, and 100 MiB in its stream."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A/0.png", bytes(100 * 2**20))
    raw = buffer.getvalue()
    at = raw.index(b"PK\1\2")
    told = struct.pack("<I", zlib.crc32(bytes(1000))), struct.pack("<I", 1000)
    lie = raw[: at + 16] + told[0] + raw[at + 20 : at + 24] + told[1] + raw[at + 28 :]
    (tmp_path / "data.zip").write_bytes(lie)
    with opened(tmp_path / "data.zip") as listing:
        (one,) = listing.found
        tracemalloc.start()
        data = listing.read(one)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert data == bytes(1000) and most < 2 * 2**20


def test_a_tar_that_leads_back_to_itself() -> None:
    """A member of minus 512 bytes: the next one begins where it began."""
    member = tarfile.TarInfo("9.png")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (-512 % 256**11).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole = tarred().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    cases = [("whole", ("tar", tarred())), ("it", ("tar", whole + bytes(header) + bytes(1024)))]
    assert try_all(imports, cases, MEMORY_MIB) == {"whole": 1, "in part": 1}


def test_folders_in_folders_take_no_time() -> None:
    """21,000 of them: each level once looked at all above it again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(60):
            archive.writestr(f"{'ab/' * 21_000}{number}.png", b"")
    cases = [("whole", ("zip", zipped())), ("it", ("zip", buffer.getvalue()))]
    assert try_all(imports, cases, MEMORY_MIB) == {"whole": 1, "refused": 1}


@pytest.mark.parametrize("line", [b"\n", b'{"file": "A/0.png"}\n'])
def test_a_table_larger_than_its_images_can_have(line: bytes) -> None:
    """A few hundred kB packed, and a list of a hundred million lines from it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A/0.png", image(0))
        with archive.open("samples.jsonl", "w") as member:
            piece = line * (2**20 // len(line))
            for _ in range(100):
                member.write(piece)
    outcomes = try_all(imports, [("table", ("zip", buffer.getvalue()))], MEMORY_MIB)
    assert outcomes == {"refused": 1}
