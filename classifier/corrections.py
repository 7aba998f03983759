"""What a person decided about suspected labels, taken back from a CSV file.

Columns, in any order, others are passed over: `sha256` (of the image, as in the store and the
report) and `label`: a character of the alphabet, "other", "remove", or nothing for what is not
decided. The given label, written again, confirms it: nothing doubts it any more. Equal images share
a decision, unless the column `given` names a label: it is then about those filed under that label
alone. Files may be joined, one after the other. A row whose column `decided_by` begins with
"nobody" counts as the others do, but no one has looked: it stays open to doubt. Only real training
images can be decided on; the store on disk stays as it is.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from synth.errors import InputError
from synth.store import Store

REMOVE = "remove"
DECIDED_BY, NOBODY, GIVEN = "decided_by", "nobody", "given"
_MARK = "\ufeff"  # byte-order mark


@dataclass(frozen=True)
class Corrections:
    """Decisions by row of the real store."""

    rows: np.ndarray  # [n] int64, decided
    classes: np.ndarray  # [n] int64, what each is; -1: removed
    changed: int  # images that got another label
    digest: str  # of the file; "" without one
    looked: np.ndarray  # [n] bool: a person did

    @classmethod
    def none(cls) -> Self:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, "", np.zeros(0, bool))

    @classmethod
    def read(cls, path: Path, real: Store) -> Self:
        """Raises InputError, naming the line, for what cannot be meant."""
        if not path.is_file():
            raise InputError(f"--corrections {path}: no such file")
        raw = path.read_bytes()
        try:
            # each of several joined files may begin with a byte-order mark
            lines = [line.removeprefix(_MARK) for line in raw.decode("utf-8").splitlines()]
            table = _entries(lines)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"--corrections {path}: no CSV in UTF-8 ({error})") from None
        if table is None:
            raise InputError(f"--corrections {path}: needs the columns sha256 and label")
        index = real.alphabet.index()
        rows_of: dict[str, list[int]] = {}
        digests, split, labels = (real.column(name) for name in ("sha256", "split", "label"))
        for row in real.rows("train").tolist():
            rows_of.setdefault(digests[row], []).append(row)
        measured = set(digests[split != "train"])
        decided: dict[int, int] = {}
        looked: set[int] = set()
        for line, entry in table:
            image, label, given = (entry.get(n, "").strip() for n in ("sha256", "label", GIVEN))
            where = f"--corrections {path}, line {line}"
            if not label:
                continue
            if label not in index and label != REMOVE:
                raise InputError(
                    f"{where}: {label!r} is not in the alphabet; write its character, other or "
                    f"{REMOVE}"
                )
            if image not in rows_of:
                what = "for validation or test, which" if image in measured else "not in it;"
                raise InputError(
                    f"{where}: image {image[:16]!r} is no training image of {real.path} ({what} "
                    "only training labels are changed)"
                )
            about = [row for row in rows_of[image] if given in ("", labels[row])]
            if not about:
                raise InputError(f"{where}: image {image[:16]} is not filed under {given!r}")
            number = -1 if label == REMOVE else index[label]
            for row in about:
                if decided.setdefault(row, number) != number:
                    raise InputError(f"{where}: image {image[:16]} was decided otherwise before")
            if not entry.get(DECIDED_BY, "").strip().startswith(NOBODY):
                looked.update(about)
        rows = np.array(sorted(decided), np.int64)
        classes = np.array([decided[row] for row in rows.tolist()], np.int64)
        changed = int(((classes >= 0) & (classes != real.classes()[rows])).sum())
        by_person = np.isin(rows, sorted(looked))
        return cls(rows, classes, changed, hashlib.sha256(raw).hexdigest()[:12], by_person)

    @property
    def removed(self) -> int:
        return int((self.classes < 0).sum())

    @property
    def trusted(self) -> np.ndarray:
        """[m] int64: rows whose labels a person gave or confirmed."""
        return self.rows[(self.classes >= 0) & self.looked]

    def targets(self, given: np.ndarray) -> np.ndarray:
        """[N] classes of the real store's rows -> [N] the decided ones."""
        result = given.copy()
        stays = self.classes >= 0
        result[self.rows[stays]] = self.classes[stays]
        return result

    def keep(self, rows: np.ndarray) -> np.ndarray:
        """[n] rows -> those that were not removed."""
        return rows[~np.isin(rows, self.rows[self.classes < 0])]

    def told(self) -> str:
        """In one line."""
        confirmed = len(self.rows) - self.changed - self.removed
        return f"{self.changed} labels changed, {self.removed} removed, {confirmed} confirmed"


def _entries(lines: Sequence[str]) -> list[tuple[int, dict[str, str]]] | None:
    """Of each row of a table, or of several joined, the number of its line and its values by
    column; None where the first one does not name the columns that are needed."""
    reader = csv.reader(lines)
    head: list[str] = []
    found = []
    for values in reader:
        names = [value.strip() for value in values]
        if {"sha256", "label"} <= set(names):
            head = names
        elif values and not head:
            return None
        elif values:
            # joined without its own head, below one of fewer columns: what the lists write there
            more = [name for name in (DECIDED_BY, GIVEN) if name not in head]
            found.append((reader.line_num, dict(zip([*head, *more], values, strict=False))))
    return found if head else None
