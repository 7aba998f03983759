"""A table of predictions against the truth's: accuracy by group, macro F1, AUROC of "other"."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "", "python scripts/score.py --truth truth.csv --predictions predictions.csv"
    )
    p.add_argument(
        "--truth",
        type=Path,
        required=True,
        help="CSV: path, label (a character, or other) and, if wanted, group (any name; its "
        "accuracy is the mean over its characters) and char (what an image of other shows, else "
        "all of them are one character)",
    )
    p.add_argument(
        "--predictions",
        type=Path,
        required=True,
        help="CSV that predict.py wrote, for each image of the truth a row: path (with any folders "
        "before the truth's), label, other",
    )
    p.add_argument(
        "--alphabet",
        type=Path | None,
        help="the known characters, one a line: what else the truth names is other then (null: all "
        "that the tables name are known)",
    )
    p.add_argument(
        "--under", type=str | None, help="only the truth's images in this folder, test, say"
    )
    p.add_argument("--json", action="store_true", help="print one line of JSON")
    return p


def main(args: Namespace) -> None:
    from classifier.scoring import read_predictions, read_truth, score
    from synth.alphabet import Alphabet

    alphabet = Alphabet.read(args.alphabet) if args.alphabet else None
    truth = read_truth(args.truth, args.under)
    found = score(truth, read_predictions(args.predictions), alphabet)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    groups = found.pop("groups")
    for name, value in (*groups.items(), *found.items()):
        shown = "-" if value is None else str(value) if name == "images" else f"{value:.4f}"
        print(f"{name:16} {shown}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
