"""Which label, what else of a row, and which alphabet the images of a data set get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.about import About
from synth.alphabet import OTHER, Alphabet
from synth.errors import InputError
from synth.found import Found
from synth.other import NON_CHARACTER_KINDS
from synth.store import Sample


def sample_of(found: Found, split: str) -> Sample:
    """The row of an image: its own of an export, as far as that still holds."""
    row = found.row
    if row is not None and row.label == found.label:
        return replace(row, split=split)
    kind = "unknown" if found.label == OTHER else "character"
    new = Sample(found.label, found.char, "real", split, kind, found.path)
    if row is None or found.is_real:
        return new
    # under another label it is still drawn, or generated, as it was
    kind = row.kind if row.kind in NON_CHARACTER_KINDS else new.kind
    return replace(row, label=new.label, char=new.char, split=split, kind=kind)


def carried(about: About | None, found: Sequence[Found], licence: str | None) -> dict[str, Any]:
    """What is known of how images of an export were made, for the new store's `made`: the licence,
    and all of it as `exported`. Nothing where there are images beside those of the export."""
    if about is None or any(f.row is None for f in found):
        return {"licence": licence}
    return {"licence": licence or about.made.get("licence"), "exported": about.made}


def found_alphabet(images: Path, found: Sequence[Found], about: About | None) -> Alphabet:
    """Of the labels found and those of the store that was exported. Raises InputError where all
    are "other"."""
    labels = {f.label for f in found} - {OTHER} | {*(about.chars if about else ())}
    if not labels:
        raise InputError(f"{images}: only images of 'other' in it; give --alphabet")
    return Alphabet.of(labels)


def apply_alphabet(
    images: Path, found: Sequence[Found], alphabet: Alphabet, outside: str
) -> list[Found]:
    """Sets `char`, and files labels outside the alphabet under "other" or refuses them."""
    if outside not in ("error", "other"):
        raise InputError(f"outside {outside!r}: wanted 'error' or 'other'")
    known = set(alphabet.classes)
    strange = [f for f in found if f.label not in known]
    if strange and outside == "error":
        labels = sorted({f.label for f in strange})
        shown = "".join(labels[:20]) + (" ..." if len(labels) > 20 else "")
        raise InputError(
            f"{images}: {strange[0].path} has the label {strange[0].label!r}, which is not in the "
            f"alphabet ({len(strange)} images of {len(labels)} such labels: {shown}); "
            "add it to the alphabet or file it under other with --outside other"
        )
    return sorted(
        (
            replace(
                f,
                label=f.label if f.label in known else OTHER,
                char="" if f.label == OTHER else f.label,
            )
            for f in found
        ),
        key=lambda f: (f.label, f.key),
    )
