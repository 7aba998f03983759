"""A real data set -> a store: decoded, brought onto the canvas, without duplicates, split.

    python scripts/import_data.py IMAGES --alphabet alphabet.txt --out runs/real

IMAGES is a folder per class (IMAGES/<label>/*.png; label is a character or `other`), a folder of
files named <id>_<label>.<ext>, a .zip of either, or one of: CASIA .gnt, LMDB, HDF5 (.h5), TFRecord,
WebDataset .tar, idx files (MNIST and its kin); a folder of .gnt, .tfrecord or .tar files too. Or,
in place of IMAGES, a public set as torchvision leaves it:

    python scripts/import_data.py --torchvision KMNIST --root data --download --out runs/real
    python scripts/import_data.py --torchvision KMNIST --root data --split test --out runs/test

And back: a store in a format that others read, which `--as-is` makes the same store of again.

    python scripts/import_data.py runs/real --export webdataset --out real.tar
    python scripts/import_data.py real.tar --as-is --out runs/again
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from synth.command import cores, parser, run
from synth.errors import InputError

if TYPE_CHECKING:
    from synth.class_names import ClassNames
    from synth.store import Store


def options() -> ArgumentParser:
    result = parser(
        "Turn labelled character images into a store, which all other commands read, or a store "
        "into another format. "
        "Unreadable and blank images are skipped and listed in the store's store.json, exact "
        "duplicates dropped, a share of each class is put aside for validation (of classes of 5 or "
        "fewer images none, at the usual share), and copies of that share (saved again, moved, "
        "rescaled) are left out of training. Images that were drawn or generated (an export says "
        "so) are all kept.",
        "python scripts/import_data.py IMAGES --alphabet alphabet.txt --out runs/real",
    )
    result.add_argument(
        "images",
        type=Path | None,
        nargs="?",
        default=None,
        metavar="IMAGES",
        help="folder per class (IMAGES/<label>/*.png, label is a character or 'other'), folder of "
        "<id>_<label>.<ext>, .zip of either; .gnt, .tar (WebDataset), .tfrecord or a folder of "
        "them; LMDB, HDF5 (.h5), idx images (MNIST's format); with --export: a store; null with "
        "--torchvision",
    )
    result.add_argument(
        "--torchvision",
        choices=("EMNIST", "KMNIST", "Omniglot", "QMNIST"),
        default=None,
        help="import this public set from below --root, where torchvision keeps it: its training "
        "images, with --split test its test images (null: import IMAGES)",
    )
    result.add_argument(
        "--root",
        type=Path | None,
        default=None,
        metavar="DIR",
        help="folder that torchvision keeps its sets in, with --torchvision",
    )
    result.add_argument(
        "--subset",
        type=str | None,
        default=None,
        metavar="NAME",
        help="of EMNIST balanced, bymerge, byclass, letters, digits or mnist (null: balanced), of "
        "Omniglot background or evaluation (null: background)",
    )
    result.add_argument(
        "--download",
        action="store_true",
        help="let torchvision fetch the set to --root where it is not there",
    )
    result.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the store (or export) to make; must not exist",
    )
    result.add_argument(
        "--export",
        type=str | None,
        default=None,
        metavar="FORMAT",
        help="IMAGES is a store: write it as folder, flat, zip, gnt, lmdb, hdf5, tfrecord or "
        "webdataset (null: import)",
    )
    result.add_argument(
        "--alphabet",
        type=Path | None,
        default=None,
        metavar="FILE",
        help="UTF-8 file, one character a line (null: the labels found and, but of .gnt, the "
        "alphabet of the store that was exported)",
    )
    result.add_argument(
        "--outside",
        choices=("error", "other"),
        default="error",
        help="an image whose label is not in the alphabet: stop, or file it under 'other'",
    )
    result.add_argument(
        "--classes",
        type=str | None,
        default=None,
        metavar="FILE",
        help="what class numbers or folder names stand for: a file with one character a line or "
        "name,character lines (EMNIST's mapping.txt, KMNIST's classmap.csv), or the characters "
        "themselves (null: labels are characters)",
    )
    result.add_argument(
        "--apart-from",
        type=Path,
        nargs="+",
        default=[],
        metavar="STORE",
        help="stores whose images, and copies of them, are left out: a test set's, say",
    )
    result.add_argument(
        "--licence",
        type=str | None,
        default=None,
        metavar="TEXT",
        help="of the images, kept in the store and told by audit.py (null: not stated, or what an "
        "export says)",
    )
    result.add_argument(
        "--as-is",
        action="store_true",
        help="the images are gray, of --size-px, dark on white, and centred already (an export): "
        "change no pixel",
    )
    result.add_argument(
        "--val-share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share 0..1 of each class's images that goes to validation, rounded: at 0.1 none of 5 "
        "images or fewer",
    )
    result.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default=None,
        help="put all images into this split, whatever --val-share says (null: train and val, or "
        "what an export says)",
    )
    result.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="of the choice of validation images",
    )
    result.add_argument(
        "--size-px",
        type=int,
        default=64,
        metavar="PX",
        help="height and width of the images in the store: a multiple of 16 up to 512",
    )
    result.add_argument(
        "--workers",
        type=int | None,
        default=None,
        metavar="N",
        help="processes that decode; the result does not depend on it (null: all cores)",
    )
    return result


def main(args: Namespace) -> None:
    # late: --help must not wait for them
    from synth.alphabet import Alphabet
    from synth.canvas import Canvas
    from synth.corpus import import_images
    from synth.export import export_store
    from synth.store import Store

    images, classes = args.images, args.classes
    if args.torchvision is None:
        _refuse_without_images(args)
    else:
        images, classes = _public(args)
    if args.export is not None:
        _refuse_import_options(args)
        done = export_store(Store.open(images), args.export, args.out)
        print(f"{done.images} images in {done.path}")
        if done.left_out:
            print(f"{done.left_out} images left out: {args.export} holds characters in GBK alone")
        return
    # the networks halve an image four times
    if not 16 <= args.size_px <= 512 or args.size_px % 16:
        raise InputError(f"--size-px {args.size_px}: wanted a multiple of 16, up to 512")
    store = import_images(
        images=images,
        out=args.out,
        alphabet=Alphabet.read(args.alphabet) if args.alphabet else None,
        canvas=Canvas(size_px=args.size_px),
        val_share=args.val_share,
        split=args.split,
        seed=args.seed,
        workers=cores() if args.workers is None else args.workers,
        outside=args.outside,
        classes=classes,
        as_is=args.as_is,
        apart_from=[Store.open(path) for path in args.apart_from],
        licence=args.licence,
    )
    print(summary(store))


def _refuse_without_images(args: Namespace) -> None:
    """Raises InputError for options that go with --torchvision alone."""
    if args.images is None:
        raise InputError("give IMAGES, or --torchvision NAME --root DIR")
    if args.root is not None or args.subset is not None or args.download:
        raise InputError("--root, --subset and --download go with --torchvision")


def _refuse_import_options(args: Namespace) -> None:
    """Raises InputError for options that an export would not heed."""
    usual = options().get_defaults()
    heeded = ("images", "out", "export", "workers", "config")
    given = [k for k in vars(usual) if k not in heeded and args[k] != usual[k]]
    if given:
        names = ", ".join("--" + k.replace("_", "-") for k in given)
        raise InputError(f"--export writes a store as it is: leave {names} out")


def _public(args: Namespace) -> tuple[Path, ClassNames]:
    """The files of a public set, fetched first where that is wanted, and its classes."""
    from synth.public_sets import chosen_subset, public_set

    if args.images is not None or args.root is None or args.export is not None:
        raise InputError("--torchvision NAME goes with --root DIR, without IMAGES and --export")
    subset, test = chosen_subset(args.torchvision, args.subset), args.split == "test"
    if args.download:
        _download(args.torchvision, args.root, subset, test)
    found = public_set(args.torchvision, args.root, subset, test, args.classes, args.outside)
    return found.images, found.classes


def _download(name: str, root: Path, subset: str | None, test: bool) -> None:
    """Raises InputError where torchvision cannot fetch the set, or is not there."""
    try:
        from torchvision import datasets

        if name == "EMNIST":
            datasets.EMNIST(root, split=subset, train=not test, download=True)
        elif name == "Omniglot":
            datasets.Omniglot(root, background=subset == "background", download=True)
        else:
            getattr(datasets, name)(root, train=not test, download=True)
    # RuntimeError: a checksum, no mirror that answers, or a torchvision that does not fit torch
    except (ImportError, RuntimeError, OSError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"--download: torchvision could not fetch {name}: {line}") from None


def summary(store: Store) -> str:
    """The counts of a new store as a short table."""
    from synth.alphabet import OTHER
    from synth.quota import GROUPS

    counts, notes = store.info["counts"], store.info["notes"]
    lines = [
        ("images", f"{len(store)} in {store.path}"),
        ("classes", f"{len(store.alphabet)} and other"),
    ]
    for split, of in counts.items():
        lines.append((split, f"{sum(of.values())} images of {len(of)} classes"))
    if "train" in counts:
        limit = None
        for name, least in GROUPS:
            sizes = [counts["train"].get(char, 0) for char in store.alphabet.chars]
            group = [n for n in sizes if n >= least and (limit is None or n < limit)]
            span = f"{least} or more" if limit is None else f"{least} to {limit - 1}"
            if least:
                lines.append((name, f"{len(group)} characters with {span} training images"))
            elif group:
                lines.append((name, f"{len(group)} characters without a training image"))
            limit = least
        bare = counts["train"].keys() - {OTHER} - counts.get("val", {}).keys()
        if bare:
            lines.append(("unvalidated", f"{len(bare)} characters without a validation image"))
    lines.append((OTHER, f"{sum(of.get(OTHER, 0) for of in counts.values())} images"))
    lines.append(("skipped", _with_first(notes["skipped"])))
    lines.append(("duplicates", f"{len(notes['duplicates'])} dropped"))
    if moved := notes["near_copies"]:
        train, measured = next(iter(moved.items()))
        first = f"{train} of {measured}" + (" ... (all in store.json)" if len(moved) > 1 else "")
        lines.append(("near copies", f"{len(moved)} left out of training: {first}"))
    if left_out := notes["left_out"]:
        lines.append(("left out", f"{len(left_out)} copies of images of --apart-from"))
    lines.append(
        ("label conflicts", f"{len(notes['label_conflicts'])} images under several labels")
    )
    if notes["ignored_files"]:
        lines.append(
            ("ignored", f"{notes['ignored_files']} files that are no images by their name")
        )
    return "\n".join(f"{name:<16}{text}" for name, text in lines)


def _with_first(skipped: dict[str, str]) -> str:
    if not skipped:
        return "0"
    shown = [f"{path}: {reason}" for path, reason in list(skipped.items())[:3]]
    rest = " ... (all in store.json)" if len(skipped) > len(shown) else ""
    return f"{len(skipped)}: " + "; ".join(shown) + rest


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
