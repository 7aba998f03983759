"""The closed loop's verdicts in the report of its final run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from classifier.loop.paired import LEVEL
from classifier.loop.verdict import (
    ABOUT_OTHER,
    FEWEST,
    FORMAT,
    HELPED,
    HURT,
    NOTHING,
    Verdict,
    doubted_images,
    off_by_group,
    tally,
)
from synth.errors import InputError


def verdict_section(run: Path, digest: str) -> dict[str, Any]:
    """What the page shows; {} for a run that is not the end of a loop.

    Reads verdict.json beside the run's folder. Raises InputError where it is damaged.
    """
    path = run.resolve().parent / "verdict.json"
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != FORMAT or kept["alphabet"] != digest:
            return {}  # of another version, or of other characters: not this run's
        found = [Verdict(**row) for row in kept["verdicts"]]
        off = {label: sorted(of) for label, of in kept["switched_off"].items()}
        by_group = off_by_group(found, kept["switched_off"])
        seeds, fewest = int(kept["seeds"]), int(kept["fewest"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged ({line}); remove it or run the loop again") from None
    classes = [v for v in found if v.group]
    return {
        "seeds": seeds,
        "fewest": fewest,
        "sources": [_count(s, classes) for s in dict.fromkeys(v.source for v in classes)],
        "groups": [v for v in found if not v.group],
        "classes": classes,
        "off": off,
        "off_by_group": by_group,
        "doubted": doubted_images(found),
        "about_other": ABOUT_OTHER,
        "marks": {HELPED: "good", HURT: "bad", NOTHING: ""},
    }


def _count(source: str, classes: list[Verdict]) -> dict[str, Any]:
    of_source = [v for v in classes if v.source == source]
    told = sum(min(v.images, v.changed) >= FEWEST for v in of_source)
    # of sources that do nothing, that many intervals would leave 0 out on each side
    return {"source": source, "by_chance": (1 - LEVEL) / 2 * told} | tally(classes, source)
