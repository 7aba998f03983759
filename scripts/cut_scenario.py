"""A complete store with right labels -> a scenario: a training and a test store in the shape of the
main job (rare classes, wrong labels, "other" mostly unseen), and which group each character is in.

The same seed deals the same characters to the same groups, whatever --images and --noise say, and
the training images of fewer are among those of more.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/cut_scenario.py --whole runs/whole --test-names test_ --out runs/scenario "
        "--groups common:40:100,rare:20:20,few:10:5,other_seen:10:8,other_unseen:19:0",
    )
    p.add_argument(
        "--whole",
        type=Path,
        required=True,
        help="store of all images: import_data.py --split train makes it",
    )
    p.add_argument(
        "--test-names",
        type=str | None,
        help="images whose file's name starts so are for testing, all others for training",
    )
    p.add_argument(
        "--test", type=Path | None, help="store of the test images, in place of --test-names"
    )
    p.add_argument(
        "--truth",
        type=Path | None,
        help="CSV with the columns path and char: what the file of that name shows, where labels "
        "are not right (truth.csv of make_sample.py)",
    )
    p.add_argument("--out", type=Path, required=True, help="folder to make; must not exist")
    p.add_argument(
        "--groups",
        type=str,
        required=True,
        help="name:classes:training images a class,...; names that start with other are not in "
        "the alphabet",
    )
    p.add_argument(
        "--images",
        type=dict[str, int],
        default={},
        help="group -> training images a class instead, dealt as by --groups; for instance "
        "'{few: 100}'",
    )
    p.add_argument(
        "--noise", type=float, default=0.11, help="share 0..1 of wrong labels in training"
    )
    p.add_argument(
        "--known", type=Path | None, help="file of characters that may be known, one a line"
    )
    p.add_argument(
        "--val-share", type=float, default=0.1, help="of each character, for validation, rounded"
    )
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    import numpy as np

    from synth.alphabet import Alphabet
    from synth.groups import parse_groups, read_truth
    from synth.scenario import cut_scenario, split_by_name
    from synth.store import Store

    if (args.test_names is None) == (args.test is None):
        raise InputError("give --test-names START or --test STORE, one of them")
    whole = Store.open(args.whole)
    if args.test:
        test = Store.open(args.test)
        train_rows, test_rows = np.arange(len(whole)), np.arange(len(test))
    else:
        test = whole
        train_rows, test_rows = split_by_name(whole, args.test_names)
    told = cut_scenario(
        whole,
        train_rows,
        test,
        test_rows,
        args.out,
        parse_groups(args.groups),
        args.images,
        args.noise,
        set(Alphabet.read(args.known).chars) if args.known else None,
        args.val_share,
        args.seed,
        used(args),
        read_truth(args.truth) if args.truth else None,
    )
    print(
        f"{args.out}: {told['training_images']} training images, {told['wrong_labels']} of them "
        f"under a wrong label; {told['test_images']} test images"
    )
    if told["short"]:
        print(f"{len(told['short'])} characters have fewer training images than wanted")
    if told["copies"]:
        print(f"{told['copies']} images left out: copies of others that are measured on")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
