"""Runs side by side, for the report: totals, curves, a row a class. Plain data, charts as SVG."""

from __future__ import annotations

from typing import Any

import numpy as np

from classifier import charts
from classifier.charts import Series
from classifier.finished import Finished
from classifier.shares import GROUP_NAMES

LEAST_OF_CLASS = 5  # images that a class must have for an interval of its group
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


def totals(split: str, runs: list[Finished]) -> dict[str, Any]:
    """A row a figure: its value in each run, and the difference to each compared run, which is
    called good or bad only where it has an interval, and lies beyond it."""
    mine = runs[0].figures[split]
    wanted: list[tuple[str, Any]] = [
        (f"accuracy, {g}", lambda f, g=g: f["groups"].get(g))
        for g in GROUP_NAMES
        if g in mine["groups"]
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
        group = label.removeprefix("accuracy, ")
        ours, differences = values[0], []
        for run, other in zip(runs[1:], values[1:], strict=True):
            change = None if ours is None or other is None else ours - other
            chance = half[run.name].get(group)
            told = {"change": change, "half": chance, "verdict": _verdict(change, chance)}
            differences.append(told)
        rows.append({"label": label, "values": values, "differences": differences})
    stores = {r.figures[split]["store"] for r in runs if "store" in r.figures.get(split, {})}
    return {
        "split": split,
        "images": mine["images"],
        "rows": rows,
        "same_images": len(stores) <= 1,
        "intervals": any(half.values()),
    }


def _verdict(change: float | None, half: float | None) -> str:
    """good, bad, or nothing where the interval is missing or holds 0."""
    if change is None or half is None or abs(change) <= half:
        return ""
    return "good" if change > 0 else "bad"


def _half_intervals(split: str, mine: Finished, other: Finished) -> dict[str, float]:
    """Group -> half the 95 % interval of the difference in mean per-class accuracy.

    Both runs answered the same images, so it is the paired difference: the variance of each class's
    mean, summed over classes. It tells the chance of the images, not that of the training seed.
    A group with a class of very few images gets none: their variance says nothing.
    """
    variance = _variances(split, mine, other)
    result = {}
    for group in GROUP_NAMES:
        rows = [r for r in mine.figures[split]["classes"] if r["group"] == group]
        if variance and rows and min(r["images"] for r in rows) >= LEAST_OF_CLASS:
            of_group = sum(variance[r["label"]] for r in rows)
            result[group] = _half(of_group) / len(rows)
    return result


def _half(variance: float) -> float:
    """Half the 95 % interval, of a normal distribution."""
    return 1.96 * float(np.sqrt(variance))


def _variances(split: str, mine: Finished, other: Finished) -> dict[str, float]:
    """Label -> variance of the paired difference in its accuracy; {} where the runs did not answer
    the same images."""
    a, b = mine.answers(split), other.answers(split)
    if a is None or b is None or mine.alphabet != other.alphabet:
        return {}
    if len(a.row) != len(b.row) or (a.row != b.row).any() or (a.target != b.target).any():
        return {}
    change = a.right.astype(float) - b.right.astype(float)
    numbers = mine.alphabet.index()
    return {
        r["label"]: float(change[a.target == numbers[r["label"]]].var()) / max(r["images"] - 1, 1)
        for r in mine.figures[split]["classes"]
    }


def group_chart(split: str, runs: list[Finished]) -> str:
    groups = [g for g in GROUP_NAMES if g in runs[0].figures[split]["groups"]]
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
            lines = [s for s in run.steps if key in s]
            points = [(s["step"], s[key]) for s in lines]
            # runs of earlier versions repeat a validation in every line of training after it
            if key.startswith("val_") and all("loss" in s for s in lines):
                points = [
                    p for i, p in enumerate(points) if i == 0 or p[1] != points[i - 1][1]
                ] + points[-1:]
            if points:
                series.append(Series(run.name, colour, *zip(*points, strict=True)))
        if series:
            panels.append({"title": title, "chart": charts.lines(series, "step", share)})
    return panels


def classes(split: str, runs: list[Finished]) -> list[dict[str, Any]]:
    """A row a class of this run, with its accuracy in the others. A difference is called good or
    bad as in `totals`, by the images of the class alone."""
    before = [
        {row["label"]: row["accuracy"] for row in r.figures.get(split, {}).get("classes", [])}
        for r in runs[1:]
    ]
    variance = [_variances(split, runs[0], r) for r in runs[1:]]
    rows = []
    for row in runs[0].figures[split]["classes"]:
        others = [b.get(row["label"]) for b in before]
        changes = [None if o is None else row["accuracy"] - o for o in others]
        enough = row["images"] >= LEAST_OF_CLASS
        half = [_half(v[row["label"]]) if v and enough else None for v in variance]
        verdicts = [_verdict(c, h) for c, h in zip(changes, half, strict=True)]
        rows.append(row | {"others": others, "changes": changes, "verdicts": verdicts})
    return rows
