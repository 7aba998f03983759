"""Real training labels reviewed: networks that never saw an image say what it is (confident
learning, Northcutt et al. 2021, on out-of-fold predictions)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from classifier.card import Card
from classifier.config import ClassifierConfig
from classifier.corrections import DECIDED_BY, GIVEN, NOBODY, REMOVE
from classifier.export import Model, fastest_device
from classifier.fit import fit
from classifier.setup import prepare
from classifier.suspects import Suspects, fold
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.files import write_whole
from synth.near_copies import refuse_copies
from synth.quota import group_of
from synth.store import Store

LEAST_KEPT = 3  # images that a class keeps whatever is thought of them
SHARE_KEPT = 1 / 3  # of its images, likewise


@dataclass(frozen=True)
class Opinions:
    """What others said of each real training image."""

    rows: np.ndarray  # [n] int64 of the real store
    given: np.ndarray  # [n] int64 classes, the last one "other"
    probability: np.ndarray  # [n, K + 1] float32, out of fold


def folds_of(given: np.ndarray, digest: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """[n] classes, [n] hashes of the images -> [n] fold of each: every class evenly, the rest of
    the division by chance.

    Equal images share a fold, under whichever labels they are filed: a network that was trained on
    one of them would say of the other what it was told.
    """
    rng = np.random.default_rng([seed, folds])
    _, first, which = np.unique(digest, return_index=True, return_inverse=True)
    alone = np.zeros(len(given), bool)
    alone[first] = True
    result = np.empty(len(given), np.int64)
    for label in np.unique(given):
        mine = rng.permutation(np.flatnonzero((given == label) & alone))
        result[mine] = (np.arange(len(mine)) + rng.integers(folds)) % folds
    return result[first][which]


def require(
    real: Store, synth: list[Store], config: ClassifierConfig, seed: int, folds: int
) -> None:
    """Raises InputError for whatever a review could not end well with."""
    if folds < 2:
        raise InputError(f"--folds {folds}: at least 2, or every network has seen every image")
    if find_spec("cleanlab") is None:
        raise InputError("reviewing labels needs cleanlab (pip install 'inkfill[review]')")
    refuse_copies(real)
    prepare(real, synth, config, seed, None)


def out_of_fold(
    real: Store,
    synth: list[Store],
    out: Path,  # a folder; each fold's run stays in it until all are done
    config: ClassifierConfig,
    seed: int,
    folds: int,
) -> Opinions:
    """Trains a network for each fold on the real images of the others and all synthetic ones.

    A fold that is done is not trained again. What `require` raises is not looked at again.
    """
    rows = real.rows("train")
    given = real.classes()[rows]
    fold_of = folds_of(given, real.column("sha256")[rows], folds, seed)
    probability = np.zeros((len(rows), len(real.alphabet) + 1), np.float32)
    for number in range(folds):
        held = fold_of == number
        if not held.any():
            continue
        setup = prepare(real, synth, config, seed + number, None, real_rows=rows[~held])
        folder = out / f"fold-{number}"
        answers = folder / "probability.npy"
        if not answers.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            print(f"fold {number + 1} of {folds}", flush=True)
            module = fit(setup, folder, config, seed + number).module
            card = Card(config.model, real.alphabet, setup.others, real.canvas, 1.0, {})
            model = Model(module.average.module.to(fastest_device()), card)
            p = model.probabilities(real.take(rows[held]))
            write_whole(answers, _npy(fold(p, setup.known)))
        probability[held] = np.load(answers)
    return Opinions(rows, given, probability)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def review(opinions: Opinions) -> Suspects:
    """The labels that cleanlab finds wrong, without the most believed ones of a class that would
    lose too many."""
    from cleanlab.filter import find_label_issues

    p = opinions.probability / opinions.probability.sum(1, keepdims=True)
    wrong = find_label_issues(opinions.given, p, filter_by="confident_learning", n_jobs=1)
    wrong = spared(wrong, opinions.given, p[np.arange(len(p)), opinions.given])
    return Suspects.of(opinions.rows[wrong], opinions.given[wrong], p[wrong])


def spared(wrong: np.ndarray, given: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """[n] suspected, [n] classes, [n] probability of the given label -> [n] suspected.

    Every class keeps `LEAST_KEPT` images and `SHARE_KEPT` of its images, the most believed: a rare
    class is never emptied.
    """
    result = wrong.copy()
    for label in np.unique(given[wrong]):
        mine = np.flatnonzero(given == label)
        keep = min(len(mine), max(LEAST_KEPT, int(np.ceil(SHARE_KEPT * len(mine)))))
        short = keep - int((~wrong[mine]).sum())
        if short > 0:
            suspected = mine[wrong[mine]]
            result[suspected[np.argsort(-belief[suspected], kind="stable")[:short]]] = False
    return result


def undecided(suspects: Suspects, real: Store, how: str) -> str:
    """The whole list as a file of corrections, though nobody looked: every suspect removed
    ("remove") or given its likely label ("likely"). Its third column says so. Of equal suspects the
    least believed one counts: they share a decision. The fourth column is the given label: an equal
    image under another one, which nothing doubts, stays as it is."""
    names, digests = real.alphabet.classes, real.column("sha256")
    decided: dict[str, str] = {}  # image -> label
    doubted: dict[tuple[str, str], None] = {}  # image, given label; in order
    for row, target, likely in zip(suspects.row, suspects.target, suspects.likely, strict=True):
        decided.setdefault(str(digests[row]), REMOVE if how == "remove" else names[likely])
        doubted[str(digests[row]), names[target]] = None
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["sha256", "label", DECIDED_BY, GIVEN])
    nobody = f"{NOBODY}: the list itself"
    table.writerows([digest, decided[digest], nobody, given] for digest, given in doubted)
    return text.getvalue()


def true_classes(truth: Path, real: Store) -> np.ndarray:
    """[n] int64: the true class of each real training image, "other" for what is outside the
    alphabet.

    truth: CSV with the columns path (whose last part is that of the store's `origin`) and label
    (the true one; a row without one tells nothing). Raises InputError for a file that cannot be
    read, and for images that it does not tell about.
    """
    if not truth.is_file():
        raise InputError(f"--truth {truth}: no such file")
    true_label: dict[str, str] = {}
    try:
        with truth.open(encoding="utf-8-sig", newline="") as f:
            reader = csv.DictReader(f)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise InputError(f"--truth {truth}: needs the columns path and label")
            for row in reader:
                if not row["label"]:
                    continue
                name = Path(row["path"] or "").name
                if true_label.setdefault(name, row["label"]) != row["label"]:
                    raise InputError(f"--truth {truth}: two files called {name} with other labels")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--truth {truth}: no CSV file in UTF-8 ({error})") from None
    origin = [Path(o).name for o in real.column("origin")[real.rows("train")]]
    missing = [o for o in origin if o not in true_label]
    if missing:
        raise InputError(f"--truth {truth}: nothing about {len(missing)} images, as {missing[0]}")
    index = real.alphabet.index()
    return np.array([index.get(true_label[o], index[OTHER]) for o in origin], np.int64)


def measure(
    suspects: Suspects,
    opinions: Opinions,
    real: Store,
    true: np.ndarray,  # [n] int64, see `true_classes`
) -> dict[str, Any]:
    """How good a list is by the truth: precision, recall, and how often the likely label is the
    true one; for all, and by the group of the given label."""
    wrong, flagged = true != opinions.given, np.isin(opinions.rows, suspects.row)
    likely = np.full(len(true), -2)
    at = {row: i for i, row in enumerate(opinions.rows.tolist())}
    likely[[at[row] for row in suspects.row.tolist()]] = suspects.likely
    count = np.bincount(opinions.given, minlength=len(real.alphabet.classes))
    names = [
        "other" if g == len(real.alphabet) else group_of(int(count[g])) for g in opinions.given
    ]
    result = {}
    for group in ("all", *sorted(set(names))):
        mine = np.ones(len(true), bool) if group == "all" else np.array(names) == group
        hit = int((mine & wrong & flagged).sum())
        result[group] = {
            "images": int(mine.sum()),
            "wrong": int((mine & wrong).sum()),
            "suspected": int((mine & flagged).sum()),
            "precision": hit / max(1, int((mine & flagged).sum())),
            "recall": hit / max(1, int((mine & wrong).sum())),
            "likely_right": int((mine & wrong & (likely == true)).sum()) / max(1, hit),
        }
    return result
