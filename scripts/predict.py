"""A trained model and images -> a table of labels."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import cores, parser, run


def options() -> ArgumentParser:
    from synth.decode import SUFFIXES, UNREAD_SUFFIXES

    p = parser(
        __doc__ or "",
        "python scripts/predict.py --model runs/classifier --images DIR --out predictions.csv",
    )
    p.add_argument(
        "--model",
        type=Path,
        required=True,
        help="run folder, exported folder, or .onnx file that export_model.py made",
    )
    p.add_argument(
        "--images",
        type=Path,
        nargs="+",
        required=True,
        help="image files of any name, folders, stores; of a folder its files, and those of the "
        f"folders in it, that end in {', '.join(SUFFIXES)} and are not hidden; what ends in "
        f"{', '.join(UNREAD_SUFFIXES)} is tried, and listed where it is not read",
    )
    p.add_argument(
        "--out",
        type=Path,
        required=True,
        help="table to write, by its ending .csv, .jsonl or .parquet: path,label,confidence,other",
    )
    p.add_argument(
        "--top", type=int, default=1, help="write the k most probable characters too; 1: only label"
    )
    p.add_argument(
        "--own-code", action="store_true", help="import and run the layers that --replace put in"
    )
    p.add_argument("--workers", type=int, default=cores(), help="processes that decode")
    return p


def main(args: Namespace) -> None:
    from classifier.predict import predict_files

    done, skipped = predict_files(
        args.model, args.images, args.out, args.workers, args.top, args.own_code
    )
    print(
        f"{args.out}: {done} images"
        + (f", {skipped} unreadable (see {args.out}.skipped)" if skipped else "")
    )


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
