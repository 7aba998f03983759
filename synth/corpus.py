"""A real data set -> a store: find the images, decode, normalise, drop duplicates, split.

The layout is told by what is there (`opened`); each has a module `format_*`. Whatever it is, an
image reaches `decode` as the bytes of an image file; that is also the way of prediction and
serving.

Two passes: the first decodes in parallel into an unnamed spool file; the second, with the hashes of
all images at hand, settles duplicates, splits and copies of what is measured on, and writes the
store.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL

from synth import format_hdf5, format_idx, format_lmdb, format_tfrecord
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.class_names import ClassNames
from synth.decode import SUFFIXES, decode, open_image
from synth.errors import InputError
from synth.filing import apply_alphabet, carried, found_alphabet, sample_of
from synth.format_folder import list_folder, opened_zip
from synth.format_gnt import list_gnt
from synth.format_tar import list_tar
from synth.found import SPLITS, Listing, about_of, files_below, printable
from synth.near_copies import Pictures, apart_note, copies_in_training, copies_of
from synth.splits import choose_splits, drop_duplicates, label_conflicts, rejoin
from synth.spool import spool_images
from synth.store import Store, StoreWriter, refuse_existing

__all__ = ["SUFFIXES", "decode", "import_images", "open_image", "opened"]

APPEND_IMAGES = 1024  # images that the second pass holds at once


@contextmanager
def opened(images: Path, classes: ClassNames | None = None) -> Iterator[Listing]:
    """Detects the layout and lists the images, labels cleaned. Raises InputError."""
    if format_lmdb.is_lmdb(images):
        with format_lmdb.opened_lmdb(images, classes) as listing:
            yield listing
    elif images.is_dir():
        yield _list_dir(images, classes)
    elif not images.exists():
        raise InputError(f"{images}: no such folder or file")
    elif images.suffix.lower() in format_hdf5.SUFFIXES:
        with format_hdf5.opened_hdf5(images, classes) as listing:
            yield listing
    elif (kind := _container(images)) is not None:
        yield _list_containers(kind, images.parent, [images], 0, classes)
    elif zipfile.is_zipfile(images):
        with opened_zip(images, classes) as listing:
            yield listing
    else:
        raise InputError(
            f"{images}: neither a folder nor a .zip nor a .gnt file, nor .tar, .tfrecord, .h5, "
            ".lmdb or idx images"
        )


def _container(file: Path) -> str | None:
    """The kind of a file that holds many images and may stand beside others of its kind."""
    suffix = file.suffix.lower()
    if format_idx.is_idx(file):
        return "idx"
    if suffix in format_tfrecord.SUFFIXES:
        return "tfrecord"
    return {".gnt": "gnt", ".tar": "tar"}.get(suffix)


def _list_dir(images: Path, classes: ClassNames | None) -> Listing:
    files, lost = files_below(images)
    if not files:
        what = "nothing but links that lead nowhere" if lost else "the folder is empty"
        raise InputError(f"{images}: {what}; wanted {images}/<label>/*.png")
    inside: dict[str, list[Path]] = {}
    for file in files:
        kind = "images" if file.suffix.lower() in SUFFIXES else _container(file)
        if kind:
            inside.setdefault(kind, []).append(file)
    if len(inside) > 1:
        first, second = sorted(inside, reverse=True)[-2:]
        what = first if first == "images" else f".{first} files"
        raise InputError(f"{images}: holds both {what} and .{second} files; give one of the two")
    (kind,) = inside or ("images",)
    if kind == "images":
        listing = list_folder(images, files, classes)
    else:
        mine = inside[kind]
        listing = _list_containers(kind, images, mine, len(files) - len(mine), classes)
    return replace(listing, damaged=listing.damaged | lost)


def _list_containers(
    kind: str, top: Path, files: Sequence[Path], ignored: int, classes: ClassNames | None
) -> Listing:
    if kind == "gnt":
        return list_gnt(top, files, ignored)
    if kind == "idx":
        return format_idx.list_idx(top, files, classes)
    if kind == "tar":
        return list_tar(top, files, ignored, classes)
    return format_tfrecord.list_tfrecord(top, files, ignored, classes)


def import_images(
    images: Path,  # see `opened`
    out: Path,  # the store to make; must not exist
    alphabet: Alphabet | None,  # None: the labels found, and the alphabet of an export
    canvas: Canvas,
    val_share: float = 0.1,  # of each class, into the split "val"
    split: str | None = None,  # all images into this split; None: an export's own, or val_share
    seed: int = 0,  # of the choice of validation images
    workers: int = 1,  # processes that decode; the store does not depend on it
    outside: str = "error",  # a label outside the alphabet: "error", or "other" to file it there
    classes: str | ClassNames | None = None,  # see ClassNames.read; None: labels stand in the set
    as_is: bool = False,  # the images are gray and on the canvas already: no pixel is changed
    apart_from: Sequence[Store] = (),  # leave copies of their images out, a test set's say
    licence: str | None = None,  # of the images, for the record
) -> Store:
    """Makes a store. Raises InputError and leaves nothing where that fails.

    Its source is "real", but for exports of stores, whose rows say what they are: an image that was
    drawn or put aside for validation does not become another by going through a file, and what was
    drawn or generated is kept to the last image, alike or not.
    """
    if not 0 <= val_share < 1:
        raise InputError(f"validation share {val_share}: wanted 0 <= share < 1")
    if split is not None and split not in SPLITS:
        raise InputError(f"split {split!r}: wanted one of {', '.join(SPLITS)}")
    if workers < 1:
        raise InputError(f"{workers} workers: wanted 1 or more")
    refuse_existing(out)
    names = ClassNames.read(classes) if isinstance(classes, str) else classes
    with opened(images, names) as listing:
        found = sorted(listing.found, key=lambda f: (f.label, f.key))
        about = about_of(found)
        if alphabet is None:
            alphabet = found_alphabet(images, found, about)
        found = apply_alphabet(images, found, alphabet, outside)
        made = {
            "command": "import_data",
            "images": printable(str(images)),
            "val_share": val_share,
            "split": split,
            "seed": seed,
            "outside": outside,
            "classes": dict(classes.of) if isinstance(classes, ClassNames) else classes,
            "as_is": as_is,
            **carried(about, found, licence),
            "apart_from": [str(store.path) for store in apart_from],
            "pillow": PIL.__version__,
        }
        notes: dict[str, object] = dict(about.notes) if about else {}
        with (
            StoreWriter(out, canvas, alphabet, made, notes) as writer,
            tempfile.TemporaryFile(dir=out.parent) as spool,  # has no name: gone with the process
        ):
            pixels, good, skipped = spool_images(listing, found, canvas, as_is, workers, spool)
            skipped = listing.damaged | skipped
            # not by path: two files may print as one
            usable = [f for f, whole in zip(found, good, strict=True) if whole]
            if not usable:
                first, reason = next(iter(skipped.items()))
                raise InputError(
                    f"{images}: none of its {len(skipped)} images can be used; "
                    f"first: {first}: {reason}"
                )
            hashes = [hashlib.sha256(image).hexdigest() for image in pixels]
            kept, duplicates = drop_duplicates(usable, hashes)
            left_out = copies_of(apart_from, Pictures(pixels, np.array(kept)))
            kept = [i for i in kept if i not in left_out]
            if not kept:
                raise InputError(f"{images}: holds only copies of the images of --apart-from")
            notes["skipped"] = dict(sorted(skipped.items()))
            notes["duplicates"] = duplicates
            notes["label_conflicts"] = label_conflicts(usable, hashes, kept)
            notes["ignored_files"] = listing.ignored_files
            notes["left_out"] = {usable[i].path: name for i, name in left_out.items()}
            digests = [hashes[i] for i in kept]
            splits = choose_splits([usable[i].label for i in kept], digests, split, val_share, seed)
            if split is None:  # an export's own go first
                rows = [usable[i].row for i in kept]
                told = [
                    s if row is None else row.split for row, s in zip(rows, splits, strict=True)
                ]
                splits = rejoin(digests, told, [usable[i].is_real for i in kept])
            # of drawn images none is a copy: a plain stroke may come to lie near a written one
            real = [(i, s) for i, s in zip(kept, splits, strict=True) if usable[i].is_real]
            written = Pictures(pixels, np.array([i for i, _ in real], np.int64))
            near = copies_in_training(written, [s for _, s in real])
            notes["near_copies"] = {usable[i].path: usable[j].path for i, j in near.items()}
            left = [(i, s) for i, s in zip(kept, splits, strict=True) if i not in near]
            kept = [i for i, _ in left]
            if len(real) == len(left) + len(near):  # else not all were looked at
                apart = Pictures(pixels, np.array(kept))
                notes["apart"] = apart_note(apart, [s for _, s in left])
            samples = [sample_of(usable[i], s) for i, s in left]
            for at in range(0, len(kept), APPEND_IMAGES):
                part = slice(at, at + APPEND_IMAGES)
                writer.append(pixels[kept[part]], samples[part])
    return Store.open(out)
