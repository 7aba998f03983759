"""A finished run -> one HTML file with what a person needs to look at, beside other runs.

The page holds everything itself: pictures as PNG data, charts as SVG, fonts for the characters that
a reader's machine may lack, a few lines of script that sort tables. What a run lacks (no test
images, no synthetic store, a store that was moved) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifier.finished import Finished, facts, repeat
from classifier.loop.section import verdict_section
from classifier.pictures import samples_by_source
from classifier.report_answers import (
    MAX_SUSPECTS,
    calibration,
    confusions,
    errors,
    held_out_others,
    others_found,
    rejection,
    spent,
    tiles,
)
from classifier.report_runs import classes, curves, group_chart, totals
from classifier.suspects import Suspects
from synth.files import write_text
from synth.page_fonts import with_fonts
from synth.quota import group_of, real_counts
from synth.store import Store

SPLITS = ("test", "val")  # what is shown first, and in most detail, if it was measured


def write_report(
    out: Path,  # the HTML file
    run: Path,  # finished run folder
    compare: Mapping[str, Path] | None = None,  # name -> finished run, e.g. "real only"
    title: str = "Inkfill: a classifier run",
    name: str = "this run",
    note: str = "",  # a sentence at the top: what kind of data this is
) -> None:
    """Raises InputError for a folder that holds no finished run."""
    mine = Finished.open(run, name)
    others = [Finished.open(path, other) for other, path in (compare or {}).items()]
    runs = [mine, *others]
    stores = [s for source in mine.info["sources"] if (s := mine.store(source["store"]))]
    split = next((s for s in SPLITS if s in mine.figures), None)
    answers = mine.answers(split) if split else None
    tested = mine.store(mine.figures[split]["store"]) if split and answers else None
    real = next((s for s in stores if s.column("source")[0] == "real"), None)
    counts = real_counts(real) if real else {}
    groups = {c: group_of(counts.get(c, 0)) for c in mine.alphabet.chars}
    found = Suspects.read(run)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            note=note,
            runs=[r.name for r in runs],
            split=split,
            totals=[totals(s, runs) for s in SPLITS if s in mine.figures],
            group_chart=group_chart(split, runs) if split else "",
            curves=curves(runs),
            samples=samples_by_source(stores, mine.alphabet, groups) if stores else [],
            mix=mine.mix,
            mix_at_end=mine.figures.get("mix_at_end"),
            classes=classes(split, runs) if split else [],
            verdict=verdict_section(run, mine.alphabet.digest),
            pairs=confusions(mine, answers, tested, real) if answers and tested else [],
            errors=errors(mine, answers, tested) if answers and tested else {},
            rejection=rejection(mine, answers) if answers else {},
            calibration=calibration(mine, answers) if answers else {},
            suspects=tiles(found, real) if found and real else [],
            suspected=len(found.row) if found else 0,
            spent=spent(mine),
            others=others_found(mine, split, answers, tested)
            if split and answers and tested
            else [],
            held_out=held_out_others(mine),
            missing=[s["store"] for s in mine.info["sources"] if not mine.store(s["store"])],
            facts=facts(mine),
            repeat=repeat(mine, stores),
        )
    )
    write_text(out, with_fonts(page))


def write_review(out: Path, suspects: Suspects, real: Store) -> list[Path]:
    """Pages to decide on suspected labels, each image with its given and its likely label; `out`,
    and beside it out-2 and so on, where one page would hold too many. Returns them."""
    starts = range(0, max(1, len(suspects.row)), MAX_SUSPECTS)
    names = [out.name, *(f"{out.stem}-{n}{out.suffix}" for n in range(2, len(starts) + 1))]
    page = environment().get_template("review.html.j2")
    for number, start in enumerate(starts, 1):
        text = page.render(
            suspects=tiles(suspects.part(start, start + MAX_SUSPECTS), real),
            suspected=len(suspects.row),
            store=str(real.path),
            page=number,
            pages=names,
        )
        write_text(out.with_name(names[number - 1]), with_fonts(text))
    return [out.with_name(name) for name in names]


def environment() -> Any:
    """jinja2's, for the templates beside this file."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
