"""A table of answers, written piece by piece: CSV, JSON lines or Parquet, by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from classifier.card import Prediction
from synth.errors import InputError

SUFFIXES = (".csv", ".jsonl", ".parquet")


class Table(Protocol):
    """Rows in the order of the calls; whole after `close`."""

    def write(self, paths: Sequence[str], answers: Sequence[Prediction]) -> None: ...

    def close(self) -> None: ...


def require_suffix(out: Path) -> None:
    """Raises InputError for a name whose ending is none of `SUFFIXES`, or of a folder."""
    if out.is_dir():
        raise InputError(f"{out}: a folder; give --out the name of a {' or '.join(SUFFIXES)} file")
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: wanted a name that ends in {', '.join(SUFFIXES)}")


def open_table(
    file: Path,  # where to write
    suffix: str,  # of `SUFFIXES`
    top: int,  # the most probable characters to write beside the label; 1: none
) -> Table:
    kinds: dict[str, Callable[[Path, int], Table]]
    kinds = {".csv": _Csv, ".jsonl": _JsonLines, ".parquet": _Parquet}
    return kinds[suffix](file, top)


class _Csv:
    """path,label,confidence,other and, with top k, char_1,confidence_1 to char_k,confidence_k."""

    def __init__(self, file: Path, top: int) -> None:
        self.file = file.open("w", newline="", encoding="utf-8")
        self.top = top if top > 1 else 0
        self.rows = csv.writer(self.file)
        more = [f"{name}_{k}" for k in range(1, self.top + 1) for name in ("char", "confidence")]
        self.rows.writerow(["path", "label", "confidence", "other", *more])

    def write(self, paths: Sequence[str], answers: Sequence[Prediction]) -> None:
        for path, a in zip(paths, answers, strict=True):
            more = [cell for char, p in a.top[: self.top] for cell in (char, f"{p:.4f}")]
            more += [""] * (2 * self.top - len(more))  # an alphabet of fewer than k characters
            self.rows.writerow([path, a.label, f"{a.confidence:.4f}", f"{a.other:.6f}", *more])

    def close(self) -> None:
        self.file.close()


class _JsonLines:
    """An object a line; with top k `top`, a list of [character, confidence]."""

    def __init__(self, file: Path, top: int) -> None:
        self.file = file.open("w", encoding="utf-8")
        self.top = top if top > 1 else 0

    def write(self, paths: Sequence[str], answers: Sequence[Prediction]) -> None:
        for path, a in zip(paths, answers, strict=True):
            row = {
                "path": path,
                "label": a.label,
                "confidence": round(a.confidence, 4),
                "other": round(a.other, 6),
            }
            if self.top:
                row["top"] = [[char, round(p, 4)] for char, p in a.top[: self.top]]
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.file.close()


class _Parquet:
    """The columns of the CSV file; with top k `top`, a list of (char, confidence)."""

    def __init__(self, file: Path, top: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.top = top if top > 1 else 0
        numbers = [("confidence", pa.float32()), ("other", pa.float32())]
        fields = [("path", pa.string()), ("label", pa.string()), *numbers]
        if self.top:
            one = pa.struct([("char", pa.string()), ("confidence", pa.float32())])
            fields.append(("top", pa.list_(one)))
        self.schema = pa.schema(fields)
        self.writer = pq.ParquetWriter(file, self.schema)

    def write(self, paths: Sequence[str], answers: Sequence[Prediction]) -> None:
        import pyarrow as pa

        columns = {
            "path": list(paths),
            "label": [a.label for a in answers],
            "confidence": [a.confidence for a in answers],
            "other": [a.other for a in answers],
        }
        if self.top:
            columns["top"] = [
                [{"char": char, "confidence": p} for char, p in a.top[: self.top]] for a in answers
            ]
        self.writer.write_table(pa.table(columns, schema=self.schema))

    def close(self) -> None:
        self.writer.close()
