"""A trained model and images -> a table of labels."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import cores, parser, run


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/predict.py --model runs/classifier --images DIR --out predictions.csv",
    )
    p.add_argument("--model", type=Path, required=True, help="run folder, or any with model.json")
    p.add_argument("--images", type=Path, nargs="+", required=True, help="image files and folders")
    p.add_argument("--out", type=Path, required=True, help=".csv: path,label,confidence,other")
    p.add_argument("--workers", type=int, default=cores(), help="processes that decode")
    return p


def main(args: Namespace) -> None:
    from classifier.predict import predict_files

    done, skipped = predict_files(args.model, args.images, args.out, args.workers)
    print(
        f"{args.out}: {done} images"
        + (f", {skipped} unreadable (see {args.out}.skipped)" if skipped else "")
    )


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
