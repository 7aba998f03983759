"""A finished run -> one HTML file with what a person needs to look at, beside other runs.

The page holds everything itself: pictures as PNG data, charts as SVG, a few lines of script that
sort tables. What a run lacks (no test images, no synthetic store, a store that was moved) is left
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classifier import charts
from classifier.charts import Series
from classifier.finished import Answers, Finished, facts, repeat
from classifier.loop.section import verdict_section
from classifier.pictures import png, samples_by_source, spread
from classifier.suspects import Suspects
from synth.alphabet import OTHER
from synth.files import write_text
from synth.other import NON_CHARACTER_KINDS
from synth.quota import group_of, real_counts
from synth.store import Store

GROUPS = ("common", "rare", "few", "none", OTHER)
SPLITS = ("test", "val")  # what is shown first, and in most detail, if it was measured
LEAST_OF_CLASS = 5  # images that a class must have for an interval of its group
MAX_PAIRS, MAX_ERRORS, MAX_SUSPECTS = 20, 60, 2000
_CURVES = {  # metrics.jsonl -> title, whether it is a share
    "loss": ("Training loss", False),
    "right_real": ("Right on real training images", True),
    "right_font": ("Right on font images", True),
    "right_gan": ("Right on GAN images", True),
    "val_known": ("Validation: real known characters", True),
    "val_other": ("Validation: other", True),
    "val_macro": ("Validation: mean over classes", True),
    "gradient_norm": ("Gradient norm before clipping", False),
    "lr": ("Learning rate", False),
}


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
    tested = mine.store(mine.figures[split]["store"]) if answers else None
    real = next((s for s in stores if s.column("source")[0] == "real"), None)
    counts = real_counts(real) if real else {}
    groups = {c: group_of(counts.get(c, 0)) for c in mine.alphabet.chars}
    found = Suspects.read(run)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            note=note,
            runs=[r.name for r in runs],
            split=split,
            totals=[totals(s, runs) for s in SPLITS if s in mine.figures],
            group_chart=_group_chart(split, runs) if split else "",
            curves=curves(runs),
            samples=samples_by_source(stores, mine.alphabet, groups) if stores else [],
            mix=mine.mix,
            classes=classes(split, runs) if split else [],
            verdict=verdict_section(run, mine.alphabet.digest),
            pairs=confusions(mine, answers, tested, real) if answers and tested else [],
            errors=errors(mine, answers, tested) if answers and tested else {},
            rejection=rejection(mine, answers) if answers else {},
            calibration=calibration(mine, answers) if answers else {},
            suspects=tiles(found, real) if found and real else [],
            suspected=len(found.row) if found else 0,
            spent=spent(mine),
            others=others_found(mine, split, answers, tested) if answers and tested else [],
            missing=[s["store"] for s in mine.info["sources"] if not mine.store(s["store"])],
            facts=facts(mine),
            repeat=repeat(mine, stores),
        )
    )
    write_text(out, page)


def write_review(out: Path, suspects: Suspects, real: Store) -> None:
    """A page to decide on suspected labels: each with its image, its given and its likely label."""
    page = _environment().get_template("review.html.j2")
    shown = tiles(suspects, real)
    text = page.render(suspects=shown, suspected=len(suspects.row), store=str(real.path))
    write_text(out, text)


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def totals(split: str, runs: list[Finished]) -> dict[str, Any]:
    """A row a figure: its value in each run, and the difference to each compared run."""
    mine = runs[0].figures[split]
    wanted: list[tuple[str, Any]] = [
        (f"accuracy, {g}", lambda f, g=g: f["groups"].get(g)) for g in GROUPS if g in mine["groups"]
    ]
    wanted += [
        ("macro F1", lambda f: f["macro_f1"]),
        ("accuracy, all images", lambda f: f["accuracy"]),
        ("AUROC of the other score", lambda f: f["other_auroc"]),
        ("known called other (less is better)", lambda f: f["false_other"]),
    ]
    half = {r.name: _half_intervals(split, runs[0], r) for r in runs[1:]}
    rows = []
    for label, value in wanted:
        values = [value(r.figures[split]) if split in r.figures else None for r in runs]
        better = -1 if label.startswith("known called") else 1
        group = label.removeprefix("accuracy, ")
        differences = []
        for run, other in zip(runs[1:], values[1:], strict=True):
            lacks = values[0] is None or other is None
            change = None if lacks else values[0] - other
            chance = half[run.name].get(group)
            verdict = ""
            told = group not in GROUPS or chance is not None
            if change is not None and told and abs(change) > (chance or 0):
                verdict = "good" if change * better > 0 else "bad"
            differences.append({"change": change, "half": chance, "verdict": verdict})
        rows.append({"label": label, "values": values, "differences": differences})
    stores = {r.figures[split]["store"] for r in runs if "store" in r.figures.get(split, {})}
    return {
        "split": split,
        "images": mine["images"],
        "rows": rows,
        "same_images": len(stores) <= 1,
        "intervals": any(half.values()),
    }


def _half_intervals(split: str, mine: Finished, other: Finished) -> dict[str, float]:
    """Group -> half the 95 % interval of the difference in mean per-class accuracy.

    Both runs answered the same images, so it is the paired difference: the variance of each class's
    mean, summed over classes. It tells the chance of the images, not that of the training seed.
    A group with a class of very few images gets none: their variance says nothing.
    """
    a, b = mine.answers(split), other.answers(split)
    if a is None or b is None or mine.alphabet != other.alphabet:
        return {}
    if len(a.row) != len(b.row) or (a.row != b.row).any() or (a.target != b.target).any():
        return {}
    change = a.right.astype(float) - b.right.astype(float)
    classes = mine.alphabet.index()
    result = {}
    for group in GROUPS:
        rows = [r for r in mine.figures[split]["classes"] if r["group"] == group]
        variance = [
            change[a.target == classes[r["label"]]].var() / max(r["images"] - 1, 1) for r in rows
        ]
        if rows and min(r["images"] for r in rows) >= LEAST_OF_CLASS:
            result[group] = 1.96 * float(np.sqrt(sum(variance))) / len(rows)
    return result


def _group_chart(split: str, runs: list[Finished]) -> str:
    groups = [g for g in GROUPS if g in runs[0].figures[split]["groups"]]
    series = []
    for colour, run in enumerate(runs):
        there = run.figures.get(split, {}).get("groups", {})
        x = [i for i, g in enumerate(groups) if g in there]
        series.append(Series(run.name, colour, x, [there[groups[i]] for i in x]))
    return charts.bars(groups, series)


def curves(runs: list[Finished]) -> list[dict[str, str]]:
    """A panel a figure, a line a run."""
    panels = []
    for key, (title, share) in _CURVES.items():
        series = []
        for colour, run in enumerate(runs):
            points = [(s["step"], s[key]) for s in run.steps if key in s]
            if key.startswith("val_"):  # validated once an epoch, then repeated in every line
                points = [
                    p for i, p in enumerate(points) if i == 0 or p[1] != points[i - 1][1]
                ] + points[-1:]
            if points:
                series.append(Series(run.name, colour, *zip(*points, strict=True)))
        if series:
            panels.append({"title": title, "chart": charts.lines(series, "step", share)})
    return panels


def classes(split: str, runs: list[Finished]) -> list[dict[str, Any]]:
    """A row a class of this run, with its accuracy in the others."""
    before = [
        {row["label"]: row["accuracy"] for row in r.figures.get(split, {}).get("classes", [])}
        for r in runs[1:]
    ]
    rows = []
    for row in runs[0].figures[split]["classes"]:
        others = [b.get(row["label"]) for b in before]
        changes = [None if o is None else row["accuracy"] - o for o in others]
        rows.append(row | {"others": others, "changes": changes})
    return rows


def confusions(
    run: Finished, answers: Answers, tested: Store, real: Store | None
) -> list[dict[str, Any]]:
    """The most frequent pairs of true and answered label, with pictures.

    Half the places are kept for pairs of known characters, which "other" would crowd out.
    """
    names, known = run.alphabet.classes, len(run.alphabet)
    wrong = np.flatnonzero(~answers.right)
    pairs = Counter(zip(answers.target[wrong].tolist(), answers.answer[wrong].tolist()))  # noqa: B905
    of_class = np.bincount(answers.target, minlength=len(names))
    real_class = real.classes() if real else np.zeros(0, np.int64)
    in_train = real.column("split") == "train" if real else np.zeros(0, bool)
    ranked = [pair for pair, _ in pairs.most_common()]
    between_known = [pair for pair in ranked if known not in pair][: MAX_PAIRS // 2]
    rest = [pair for pair in ranked if pair not in between_known]
    kept = {*between_known, *rest[: MAX_PAIRS - len(between_known)]}
    result = []
    for target, answer in (pair for pair in ranked if pair in kept):
        mine = wrong[(answers.target[wrong] == target) & (answers.answer[wrong] == answer)]
        shown = spread(answers.row[mine], 4)
        # of "other" no three images are typical
        like = spread(np.flatnonzero(in_train & (real_class == answer) & (answer != known)), 3)
        result.append(
            {
                "target": names[target],
                "answer": names[answer],
                "count": len(mine),
                "share": len(mine) / int(of_class[target]),
                "read": png(np.asarray(tested.images[r]) for r in shown),
                "like": png(np.asarray(real.images[r]) for r in like) if len(like) else None,
            }
        )
    return result


def errors(run: Finished, answers: Answers, tested: Store) -> dict[str, Any]:
    """The wrong answers of which the model is surest."""
    names, known = run.alphabet.classes, len(run.alphabet)
    sure = answers.sure(known)
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:MAX_ERRORS]
    chars = tested.column("char")
    shown = []
    for i in order.tolist():
        char = chars[answers.row[i]]
        shown.append(
            {
                "image": png([np.asarray(tested.images[answers.row[i]])]),
                "target": names[answers.target[i]],
                "char": char if char and char != names[answers.target[i]] else "",
                "answer": names[answers.answer[i]],
                "second": names[answers.second[i]],
                "sure": float(sure[i]),
            }
        )
    return {"total": len(wrong), "images": len(answers.row), "shown": shown}


def rejection(run: Finished, answers: Answers) -> dict[str, Any]:
    """The other score of known and of other images."""
    known, threshold = len(run.alphabet), float(run.model["threshold"])
    is_other = answers.target == known
    if not is_other.any() or is_other.all():
        return {}
    return {
        "chart": charts.two_sided(
            answers.score[~is_other],
            answers.score[is_other],
            ("known characters", "other"),
            threshold,
        ),
        "threshold": threshold,
        "known_above": float((answers.score[~is_other] > threshold).mean()),
        "other_above": float((answers.score[is_other] > threshold).mean()),
    }


def calibration(run: Finished, answers: Answers) -> dict[str, Any]:
    sure = answers.sure(len(run.alphabet)).astype(float)
    return {
        "chart": charts.reliability(sure, answers.right),
        "error": charts.expected_calibration_error(sure, answers.right),
    }


def others_found(
    run: Finished, split: str, answers: Answers, tested: Store
) -> list[dict[str, Any]]:
    """How many others were found, and known characters lost, by what they are.

    Others by what the store says they show: a character that the training images showed as other,
    one that they never did, no character; known ones by their group.
    """
    known = len(run.alphabet)
    is_other = answers.target == known
    seen = np.isin(tested.column("char")[answers.row].astype(str), _trained_others(run))
    shows = tested.column("char")[answers.row].astype(str) != ""
    kind = np.isin(tested.column("kind")[answers.row].astype(str), NON_CHARACTER_KINDS)
    called = answers.answer == known
    rows = [
        ("other characters like those trained on", is_other & shows & seen & ~kind, True),
        ("other characters never trained on", is_other & shows & ~seen & ~kind, True),
        ("no characters", is_other & kind, True),
        ("others of which nothing more is known", is_other & ~shows & ~kind, True),
    ]
    group = {r["label"]: r["group"] for r in run.figures[split]["classes"]}
    groups = np.array([*(group.get(c, "") for c in run.alphabet.chars), OTHER])[answers.target]
    rows += [(f"{g} characters", groups == g, False) for g in GROUPS[:-1]]
    return [
        {
            "label": label,
            "images": int(mine.sum()),
            "other": float(called[mine].mean()),
            "good": good,
        }
        for label, mine, good in rows
        if mine.any()
    ]


def _trained_others(run: Finished) -> list[str]:
    """Characters outside the alphabet that the training images are known to show."""
    found: set[str] = set()
    for source in run.info["sources"]:
        store = run.store(source["store"])
        if store is not None:
            mine = (store.column("split") == "train") & (store.column("label") == OTHER)
            found |= set(store.column("char")[mine].astype(str))
    return sorted(found - {""})


def spent(run: Finished) -> list[tuple[str, float]]:
    """Seconds of each part of the run, the longest first; none where it did not write them down."""
    return sorted(run.figures.get("spent", {}).items(), key=lambda part: -part[1])


def tiles(suspects: Suspects, real: Store) -> list[dict[str, Any]]:
    """Each suspect as the page shows it, the least probable given label first."""
    names = real.alphabet.classes
    digests, origins = real.column("sha256"), real.column("origin")
    columns = (suspects.row, suspects.target, suspects.likely, suspects.probability)
    return [
        {
            "image": png([np.asarray(real.images[row])]),
            "given": names[given],
            "likely": names[likely],
            "probability": probability,
            "origin": str(origins[row]),
            "sha256": str(digests[row]),
        }
        for row, given, likely, probability in zip(
            *(column[:MAX_SUSPECTS].tolist() for column in columns), strict=True
        )
    ]
