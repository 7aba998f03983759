"""Copies a store to or from another place: a bucket, a server, or whatever fsspec knows."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        (__doc__ or "")
        + " One of the two is a URL (s3://bucket/real, gs://, abfs://, http://, sftp://; each "
        "wants its package, for instance s3fs), the other a folder. What comes is checked image by "
        "image, and is whole or not there.",
        "python scripts/copy_store.py s3://bucket/real runs/real",
    )
    p.add_argument("source", metavar="FROM", help="store to copy: a URL, or a folder")
    p.add_argument("target", metavar="TO", help="where to: a folder, or a URL")
    return p


def main(args: Namespace) -> None:
    from synth.remote import fetch_store, send_store
    from synth.store import Store

    if ("://" in args.source) == ("://" in args.target):
        raise InputError("FROM or TO must be a URL (with ://), one of them")
    if "://" in args.target:
        store = Store.open(Path(args.source))
        send_store(store, args.target)
    else:
        store = fetch_store(args.source, Path(args.target))
    print(f"{args.target}: {len(store)} images")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
