"""A finished run of a study -> its figures, by the groups of its scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from classifier.charts import expected_calibration_error
from classifier.finished import Finished
from classifier.scoring import accuracy_by_group
from classifier.study.plan import Trained
from classifier.study.runner import Runner
from synth.errors import InputError
from synth.groups import is_known, read_groups, read_labels
from synth.store import Store

# figure -> title and what is better; the groups of the scenario stand in front
FIGURES = {
    "macro_f1": "macro F1",
    "other_auroc": "AUROC other",
    "ece": "calibration error",  # of answers that name a character
}
LOWER_IS_BETTER = ("ece",)
COSTS = {
    "minutes": "classifier, min",
    "store_minutes": "stores, min",
    "shown": "images shown",
    "real": "real images",
    "synthetic": "synthetic images",
}


def closed(group: str) -> str:
    """The figure of a group of known characters when "other" is no answer. (No group's name has a
    colon.)"""
    return f"closed:{group}"


def labels(kind: str, group: str) -> str:
    """The figure "right" or "wrong": training images of a class under such a label."""
    return f"{kind}:{group}"


@dataclass(frozen=True)
class Row:
    """What one run gave."""

    data: str
    arm: str
    scenario_seed: int
    training_seed: int
    # groups, `closed` and `labels` of them, FIGURES and COSTS; what cannot be measured is left out
    figures: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=dict)  # package -> version that trained it

    @property
    def pair(self) -> tuple[str, int, int]:
        """Runs of two arms with the same differ in nothing but the arm."""
        return (self.data, self.scenario_seed, self.training_seed)


def rows_of(trained: list[Trained], runner: Runner) -> list[Row]:
    """The finished ones of the runs."""
    return [_row(t, runner) for t in trained if runner.jobs[t.job].is_done]


def _row(trained: Trained, runner: Runner) -> Row:
    run = Finished.open(trained.run, trained.arm)
    test = Store.open(trained.scenario / "test")
    answers = run.answers("test")
    if answers is None or len(answers.row) != len(test):
        raise InputError(f"{trained.run}: no answers to the test images of {trained.scenario}")
    group_of, known = read_groups(trained.scenario), len(run.alphabet)
    chars, named = test.column("char")[answers.row], answers.answer != known
    places = [(group_of[c], c) for c in chars.tolist()]
    figures: dict[str, float] = accuracy_by_group(places, answers.right)
    # the threshold of "other" is another one in every run: here without it
    best = np.where(named, answers.answer, answers.second)
    without = accuracy_by_group(places, best == answers.target)
    figures |= {closed(group): share for group, share in without.items() if is_known(group)}
    measured = run.figures["test"]
    figures |= {n: measured[n] for n in ("macro_f1", "other_auroc") if measured[n] is not None}
    if named.any():  # how sure "other" is, is no probability: see `rejection.other_score`
        figures["ece"] = expected_calibration_error(answers.confidence[named], answers.right[named])
    seconds = [runner.seconds(name) for name in trained.makers]
    if (spent := runner.seconds(trained.job)) is not None:
        figures["minutes"] = spent / 60
    if None not in seconds:
        figures["store_minutes"] = sum(s for s in seconds if s) / 60
    config = run.info["config"]
    # each network is shown its own; a run of an earlier version had one
    figures["shown"] = run.figures["steps"] * config["batch_size"] * config.get("members", 1)
    for group, of in read_labels(trained.scenario).items():
        figures |= dict(zip((labels("right", group), labels("wrong", group)), of, strict=True))
    figures["real"] = _images(trained.scenario / "real")
    figures["synthetic"] = sum(_images(store) for store in trained.stores)
    return Row(
        trained.data,
        trained.arm,
        trained.scenario_seed,
        trained.training_seed,
        figures,
        run.info.get("versions", {}),
    )


def _images(store: Path) -> int:
    """Training images of a store."""
    info = json.loads((store / "store.json").read_text(encoding="utf-8"))
    return sum(info["counts"].get("train", {}).values())
