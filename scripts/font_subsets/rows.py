"""The rows of fonts.toml."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

HEADER = """\
# The fonts of this folder: written by scripts/build_fonts.py, not by hand.
# renamed: Reserved Font Names of the original, replaced in the name table and the file name.
# writer:  set aside as a simulated writer; the renderer does not draw training images with it.
# scripts: ISO 15924; Hant from 75 % of Big5 level 1, Hans and Jpan from 95 % of GB2312 level 1
#          and of JIS X 0208 level 1.
"""


@dataclass(frozen=True)
class FontRow:
    """One row of fonts.toml."""

    file: str  # in assets/fonts
    licence_file: str  # in assets/fonts
    family: str  # in the name table
    original_family: str
    source: str  # package and its version
    version: str  # of the font itself, from its name table
    licence: str  # SPDX id
    reserved: bool  # the original declares Reserved Font Names
    renamed: str  # which ones were replaced in the name table and the file name; "" none
    style: str  # one of STYLES
    writer: bool  # set aside as a simulated writer: not for rendering training images
    scripts: list[str]  # ISO 15924; Hant from 75 % of Big5 level 1, Hans 95 % of GB2312 level 1
    characters: int  # in the cmap
    big5_level1: int  # of 5,401
    gb2312_level1: int  # of 3,755
    sha256: str

    def to_toml(self) -> str:
        # A JSON string, boolean, integer or list of strings is also a TOML one.
        rows = (f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in asdict(self).items())
        return "\n".join(["[[font]]", *rows, ""])

    @classmethod
    def from_toml(cls, row: dict) -> FontRow:
        names = {field.name for field in fields(cls)}
        if set(row) != names:
            raise ValueError(
                f"fonts.toml, font {row.get('file', '?')}: missing {sorted(names - set(row))}, "
                f"unknown {sorted(set(row) - names)}"
            )
        return cls(**row)


def read_rows(folder: Path) -> list[FontRow]:
    """The rows of folder/fonts.toml."""
    table = tomllib.loads((folder / "fonts.toml").read_text(encoding="utf-8"))
    return [FontRow.from_toml(row) for row in table["font"]]
