"""Fonts as the web has them, WOFF 2: the same outlines, and bounded."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import brotli
import numpy as np
import pytest
from bad_cases import mutations, try_all
from fontTools.ttLib import TTFont
from fontTools.ttLib.woff2 import WOFF2DirectoryEntry
from test_bad_fonts import CHARS, MEMORY_MIB, draws, good_fonts

from synth import woff2
from synth.errors import InputError
from synth.fonts import Font, FontFile, find_fonts
from synth.woff2 import unpacked


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ending of the original -> the same font as WOFF 2, both in one folder."""
    top = tmp_path_factory.mktemp("fonts")
    good_fonts(top)
    for ending in ("ttf", "otf"):
        font = TTFont(top / f"good.{ending}")
        font.flavor = "woff2"
        font.save(top / f"{ending}.woff2")
    return {ending: top / f"{ending}.woff2" for ending in ("ttf", "otf")}


@pytest.mark.parametrize("ending", ["ttf", "otf"])
def test_the_outlines_are_those_of_the_font_that_was_packed(
    packed: dict[str, Path], ending: str
) -> None:
    font = Font(FontFile(packed[ending]))
    plain = Font(FontFile(packed[ending].with_name(f"good.{ending}")))
    assert font.coverage(CHARS).usable == set(CHARS)
    assert font.cmap == plain.cmap
    for char in CHARS:
        assert np.array_equal(font.outline(char).points, plain.outline(char).points)


def test_a_folder_of_them_is_found_and_the_name_does_not_matter(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "web.woff2").write_bytes(packed["ttf"].read_bytes())
    (tmp_path / "misnamed.ttf").write_bytes(packed["otf"].read_bytes())
    found = find_fonts([tmp_path], own=False)
    assert [f.name for f in found] == ["misnamed", "web"]
    assert all(Font(f).coverage("A").usable for f in found)


def with_head(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack(">I", value) + data[at + 4 :]


def test_what_is_damaged_or_too_large_is_one_line_that_names_it(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = packed["ttf"].read_bytes(), tmp_path / "bad.woff2"

    def refused(content: bytes, why: str) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\.woff2: {why}") as caught:
            Font(FontFile(path))
        assert "\n" not in str(caught.value)

    refused(data[:30], "not a readable font")
    refused(data[:-40], "not a readable font")
    refused(data[:4] + b"ttcf" + data[8:], "a collection in WOFF 2, which is not read")
    # a stream that gives more than the tables that it says it holds
    bomb = brotli.compress(bytes(woff2.MAX_FONT_BYTES + 1))
    head = with_head(head_of(data), 20, len(bomb))
    refused(head + bomb, "more than 33554432 bytes when unpacked")
    monkeypatch.setattr(woff2, "MAX_FONT_BYTES", 100)
    refused(data, "more than 100 bytes when unpacked")
    monkeypatch.setattr(woff2, "MAX_FILE_BYTES", 100)
    refused(data, rf"{len(data)} bytes of WOFF 2, the limit is 100")


def head_of(data: bytes) -> bytes:
    """All that stands before the packed tables."""
    file = io.BytesIO(data)
    file.seek(48)
    for _ in range(int.from_bytes(data[12:14], "big")):
        WOFF2DirectoryEntry().fromFile(file)
    return data[: file.tell()]


def test_without_a_brotli_that_bounds_what_it_gives_the_way_out_is_told(
    packed: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brotli, "Decompressor", object)
    with pytest.raises(InputError, match=r"WOFF 2 wants brotli 1\.2 or newer"):
        unpacked(packed["ttf"])


def test_damaged_ones_are_refused_or_drawn_in_bounded_memory(packed: dict[str, Path]) -> None:
    cases = [
        (f"{ending}, {what}", ("woff2", data))
        for ending, path in packed.items()
        for what, data in mutations(path.read_bytes(), 7, seed=7)
    ]
    outcomes = try_all(draws, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 10, outcomes
