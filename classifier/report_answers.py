"""What one run answered, for the report: confusions, errors, rejection, calibration, suspects."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from classifier import charts
from classifier.finished import Answers, Finished
from classifier.pictures import png
from classifier.suspects import Suspects
from synth.grouping import spread
from synth.other import CHARACTER_KINDS, NON_CHARACTER_KINDS
from synth.store import Store

SHOWN = {  # of `evaluate.others_of`
    "seen": "other characters like those trained on",
    "unseen": "other characters never trained on",
    "unknown": "others of which nothing more is known",
}
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
                "read": png(tested.take(shown)),
                "like": png(real.take(like)) if real and len(like) else None,
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
                "image": png(tested.take(answers.row[[i]])),
                "target": names[answers.target[i]],
                "char": char if char and char != names[answers.target[i]] else "",
                "answer": names[answers.answer[i]],
                "second": names[answers.second[i]],
                "sure": float(sure[i]),
            }
        )
    return {"total": len(wrong), "images": len(answers.row), "shown": shown}


def rejection(run: Finished, answers: Answers) -> dict[str, Any]:
    """The other score of known and of other images, and what came of it: by the answers, since
    thresholds may be by group."""
    known, threshold = len(run.alphabet), float(run.model["threshold"])
    is_other, called = answers.target == known, answers.answer == known
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
        "by_group": run.figures.get("thresholds") or {},
        "known_above": float(called[~is_other].mean()),
        "other_above": float(called[is_other].mean()),
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

    Others by what training showed of them and known ones by their group, as the run's figures say
    (those of a run that wrote none are left out); and every kind of others by itself.
    """
    figures, called = run.figures[split], answers.answer == len(run.alphabet)
    others, groups = figures.get("others", {}), figures.get("false_other_by_group", {})
    kinds = tested.column("kind")[answers.row].astype(str)
    kinds[answers.target != len(run.alphabet)] = ""

    def row(label: str, mine: np.ndarray) -> dict[str, Any]:
        return _called(label, int(mine.sum()), float(called[mine].mean()) if mine.any() else 0.0)

    rows = [_called(label, **others[name]) for name, label in SHOWN.items() if name in others]
    rows.insert(2, row("no characters", np.isin(kinds, NON_CHARACTER_KINDS)))
    rows += [row(f"other: {k}", kinds == k) for k in (*CHARACTER_KINDS, *NON_CHARACTER_KINDS)]
    rows += [_called(f"{g} characters", good=False, **found) for g, found in groups.items()]
    return [row for row in rows if row["images"]]


def held_out_others(run: Finished) -> list[dict[str, Any]]:
    """Of the others that the threshold was set on, each kind and how many are called other."""
    found = run.figures.get("held_out_others") or {}
    return [_called(SHOWN.get(name, f"other: {name}"), **rates) for name, rates in found.items()]


def _called(label: str, images: int, called_other: float, good: bool = True) -> dict[str, Any]:
    return {"label": label, "images": images, "other": called_other, "good": good}


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
            "image": png(real.take(np.array([row]))),
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
