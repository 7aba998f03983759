"""What one run answered, for the report: confusions, errors, rejection, calibration, suspects."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from classifier import charts
from classifier.finished import Answers, Finished
from classifier.pictures import png, spread
from classifier.shares import GROUP_NAMES
from classifier.suspects import Suspects
from synth.alphabet import OTHER
from synth.other import CHARACTER_KINDS, NON_CHARACTER_KINDS
from synth.store import Store

MAX_PAIRS, MAX_ERRORS, MAX_SUSPECTS = 20, 60, 2000


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
                "like": png(np.asarray(real.images[r]) for r in like)
                if real and len(like)
                else None,
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
    one that they never did, no character, and every kind by itself; known ones by their group.
    """
    known = len(run.alphabet)
    is_other = answers.target == known
    seen = np.isin(tested.column("char")[answers.row].astype(str), _trained_others(run))
    shows = tested.column("char")[answers.row].astype(str) != ""
    kinds = tested.column("kind")[answers.row].astype(str)
    kind = np.isin(kinds, NON_CHARACTER_KINDS)
    called = answers.answer == known
    rows = [
        ("other characters like those trained on", is_other & shows & seen & ~kind, True),
        ("other characters never trained on", is_other & shows & ~seen & ~kind, True),
        ("no characters", is_other & kind, True),
        ("others of which nothing more is known", is_other & ~shows & ~kind, True),
    ]
    rows += [
        (f"other: {k}", is_other & (kinds == k), True)
        for k in (*CHARACTER_KINDS, *NON_CHARACTER_KINDS)
    ]
    group = {r["label"]: r["group"] for r in run.figures[split]["classes"]}
    groups = np.array([*(group.get(c, "") for c in run.alphabet.chars), OTHER])[answers.target]
    rows += [(f"{g} characters", groups == g, False) for g in GROUP_NAMES[:-1]]
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
