"""The page of a study: `index.html`, which holds everything itself, `RESULTS.md` with its pictures,
and `rows.csv`, a line a run."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from classifier.finished import versions
from classifier.report import environment
from classifier.study.estimates import of_data, title_of
from classifier.study.grid import Study
from classifier.study.harm import harms
from classifier.study.intervals import METHOD
from classifier.study.plots import write_arms, write_curve
from classifier.study.results import Row
from classifier.study.tables import tables
from synth.files import write_text
from synth.groups import parse_groups


def write_page(
    study: Study,
    rows: Sequence[Row],
    out: Path,  # folder of the files
    wanted: int,  # runs that the study is to have
) -> list[Path]:
    """Of the runs there are; says so where some are missing. Returns the files: the page, the
    text, the lines, and for each data set a picture of the main figures alone, for a README."""
    out.mkdir(parents=True, exist_ok=True)
    sections, overviews = [], []
    for data in study.data:
        if of_data(rows, data):
            sections.append(
                {
                    "data": data,
                    "tables": tables(study, rows, data),
                    "pictures": _pictures(study, rows, data, out),
                    "ran": _ran(rows, data),
                    "options": _options(study, rows, data),
                }
            )
            overview = out / f"{data}_overview.png"
            if write_arms(study, rows, data, overview, _main_figures(study, data)):
                overviews.append(overview)
    told = {
        "title": study.title,
        "note": study.note,
        "runs": f"{len(rows)} of {wanted} runs",
        "method": METHOD,
        "harms": harms(study, rows),
        "versions": _versions(rows),
        "sections": sections,
    }
    html, markdown, lines = out / "index.html", out / "RESULTS.md", out / "rows.csv"
    write_text(html, _html(told))
    write_text(markdown, _markdown(told))
    write_text(lines, _csv(rows))
    return [html, markdown, lines, *overviews]


def _versions(rows: Sequence[Row]) -> str:
    """Of the trainings, which a later version may have put on a page; several of a package where
    the code was changed between two runs."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for package, version in row.versions.items():
            there = found.setdefault(package, [])
            if version not in there:
                there.append(version)
    trained = ", ".join(f"{k} {' and '.join(v)}" for k, v in found.items()) or "not recorded"
    page = f"; page: git {here}" if (here := versions().get("git")) else ""
    return f"{trained}{page}"


def _main_figures(study: Study, data: str) -> tuple[str, ...]:
    """The groups whose gap is to be closed, the last of the others, and macro F1."""
    others = [g.name for g in parse_groups(study.data[data].groups) if not g.known]
    return (*study.compare.gap, *others[-1:], "macro_f1")


def _pictures(study: Study, rows: Sequence[Row], data: str, out: Path) -> list[Path]:
    found = []
    if write_arms(study, rows, data, path := out / f"{data}_arms.png"):
        found.append(path)
    for number, curve in enumerate(study.compare.curves, 1):
        if write_curve(study, rows, data, curve, path := out / f"{data}_curve{number}.png"):
            found.append(path)
    return found


def _ran(rows: Sequence[Row], data: str) -> str:
    """Which seeds are behind the figures."""
    mine = of_data(rows, data)
    scenarios = ", ".join(str(s) for s in sorted({r.scenario_seed for r in mine}))
    seeds = ", ".join(str(s) for s in sorted({r.training_seed for r in mine}))
    several = len({r.scenario_seed for r in mine}) > 1
    over = "scenarios, training seeds averaged first" if several else "training seeds"
    return (
        f"{len(mine)} runs; scenario seeds {scenarios}; training seeds {seeds}; "
        f"intervals over {over}"
    )


def _options(study: Study, rows: Sequence[Row], data: str) -> list[tuple[str, str]]:
    """What train_classifier.py was given: of all arms, and of each that has more."""
    of_all = f"{study.classifier} {study.data[data].classifier}".strip()
    there = {row.arm for row in of_data(rows, data)}
    more = [(title_of(study, a), study.arms[a].options) for a in study.arms_of(data) if a in there]
    return [("all arms", of_all or "none"), *((arm, text) for arm, text in more if text)]


def _markdown(told: dict) -> str:
    parts = [f"# {told['title']}", f"{told['runs']}. {told['note']}".strip(), told["method"]]
    parts.append(
        "Accuracy is the mean over a group's characters, in percent; for other characters the "
        "share called other. **Bold**: better than the baseline by more than chance explains; "
        "_italic_: worse."
    )
    for section in told["sections"]:
        parts += [f"## {section['data']}", f"{section['ran']}."]
        parts += [f"![{p.stem.replace('_', ' ')}]({p.name})" for p in section["pictures"]]
        parts += [table.markdown().rstrip() for table in section["tables"]]
        told_options = "; ".join(f"{arm}: `{text}`" for arm, text in section["options"])
        parts.append(f"Classifier options, the later of two counts: {told_options}.")
    parts.append("## When not to use them")
    parts.append("\n".join(f"- {line}" for line in told["harms"]))
    parts.append(f"Versions of the trainings: {told['versions']}.")
    return "\n\n".join(parts) + "\n"


def _html(told: dict) -> str:
    pages = environment()
    pages.filters["data"] = lambda p: base64.b64encode(p.read_bytes()).decode()
    return pages.get_template("study.html.j2").render(**told)


def _csv(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("data", "arm", "scenario_seed", "training_seed", *names))
    for row in rows:
        figures = [f"{row.figures[n]:.6g}" if n in row.figures else "" for n in names]
        writer.writerow((row.data, row.arm, row.scenario_seed, row.training_seed, *figures))
    return text.getvalue()
