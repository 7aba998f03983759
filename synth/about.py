"""What a store says of itself, on its way through an export: in the row of the first image.

A row is what each format but .gnt carries anyway, so no format needs a place of its own for it, and
whoever reads the format without this project sees nothing new.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from synth.alphabet import Alphabet, clean_label
from synth.errors import InputError
from synth.store import Store

KEY = "store"  # in the JSON of the row
# What an import found in its files: of other files now. `apart` is looked at anew.
OF_IMPORT = (
    *("skipped", "duplicates", "label_conflicts", "ignored_files", "left_out", "near_copies"),
    "apart",
)
_DAMAGED = "what it says of its store is damaged"
MAX_NOTE_BYTES = 2**16  # a longer one (each refused glyph) is left behind: readers bound a row


@dataclass(frozen=True)
class About:
    """How a store was made, what it notes, and its alphabet."""

    made: dict[str, Any]
    notes: dict[str, Any]
    chars: tuple[str, ...]  # those without an image too

    @classmethod
    def of(cls, store: Store) -> Self:
        """Of one that came out of an export itself: how the first one was made."""
        made = dict(store.info["made"])
        first = dict(made.get("exported") or made)
        first |= {"licence": made["licence"]} if made.get("licence") else {}
        notes = store.info.get("notes") or {}
        kept = {k: v for k, v in notes.items() if k not in OF_IMPORT and _is_short(v)}
        return cls(first, kept, store.alphabet.chars)

    def value(self) -> dict[str, Any]:
        """For JSON; `parse` is its inverse."""
        return {"made": self.made, "notes": self.notes, "alphabet": list(self.chars)}

    @classmethod
    def parse(cls, value: object) -> Self:
        """Raises InputError for what `value` cannot have given."""
        if not isinstance(value, dict):
            raise InputError(_DAMAGED)
        try:
            made, notes = dict(value["made"]), dict(value["notes"])
            chars = Alphabet(tuple(map(clean_label, value["alphabet"]))).chars
        except (KeyError, TypeError, ValueError, AttributeError, InputError):
            raise InputError(_DAMAGED) from None
        return cls(made, notes, chars)


def _is_short(value: object) -> bool:
    return len(json.dumps(value, ensure_ascii=False).encode()) <= MAX_NOTE_BYTES
