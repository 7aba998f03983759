"""A real data set -> a store: find the images, decode, normalise, drop duplicates, split.

Four layouts are told apart by what is there (`opened`): a folder per class, files named
`<id>_<label>.<ext>`, a .zip of either, and CASIA .gnt files. Whatever the layout, an image reaches
`decode` as the bytes of an image file; that is also the way of prediction and serving.

Two passes: the first decodes in parallel into an unnamed spool file; the second, with the hashes of
all images at hand, settles duplicates and splits and writes the store.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import signal
import stat
import tempfile
import warnings
import zipfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps

from synth.alphabet import OTHER, Alphabet, clean_label
from synth.canvas import MAX_PIXELS, Canvas, normalise
from synth.command import progress
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter, refuse_existing

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # PPM: what .gnt bitmaps become
MAX_FILE_BYTES = 64 * 2**20  # a larger image file is skipped
MAX_ZIP_BYTES = 16 * 2**30  # decompressed, all images of a .zip together
CHUNK_IMAGES, CHUNK_BYTES = 64, 16 * 2**20  # what one task of a worker holds at most
APPEND_IMAGES = 1024  # images that the second pass holds at once
SPLITS = ("train", "val", "test")
_NAMED = re.compile(r"(?P<id>.+)_(?P<label>.+)", re.DOTALL)
_GNT_HEADER_BYTES = 10


# ---- one image ----


def open_image(data: bytes) -> Image.Image:
    """The bytes of an image file -> its first frame, decoded whole and turned upright.

    Raises InputError with the reason: no image, cut, damaged, or more than MAX_PIXELS (which is
    checked before anything is decoded).
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata does not matter
        warnings.filterwarnings("error", message=".*[Tt]runcated")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{width} x {height} pixels, the limit is {MAX_PIXELS}")
            if image.format == "PNG" and not _png_is_whole(data):
                raise InputError("the file is cut")
            image.load()
            return ImageOps.exif_transpose(image)
        except InputError:
            raise
        except Image.UnidentifiedImageError:
            raise InputError("empty file" if not data else "not an image") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise InputError(f"too many pixels, the limit is {MAX_PIXELS}") from None
        except Exception as error:  # a damaged file makes Pillow's plugins raise nearly anything
            text = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"damaged ({text})") from None


def decode(data: bytes, canvas: Canvas) -> np.ndarray:
    """The bytes of an image file -> [H, W] uint8 on the canvas. Raises InputError: the reason."""
    return normalise(open_image(data), canvas)


def _png_is_whole(data: bytes) -> bool:
    """Whether the chunks reach IEND: Pillow itself is content without the last ones."""
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


# ---- the images of a data set ----


@dataclass(frozen=True)
class Found:
    """One image of the data set, not yet read."""

    path: str  # inside the data set, with "/", printable
    label: str  # a clean label
    key: bytes  # `path` as the bytes of the file system: the order of the rows
    bytes_on_disk: int
    where: (
        Path | zipfile.ZipInfo | tuple[Path, int, int, int]
    )  # of .gnt: file, offset, width, height
    char: str = ""  # what it shows; "" where unknown


@dataclass(frozen=True)
class Listing:
    """All images of a data set and how to read one."""

    found: list[Found]
    read: Callable[[Found], bytes]  # raises OSError or InputError where that fails
    damaged: dict[str, str]  # path -> reason: what could not even be listed
    ignored_files: int  # files that are no images by their name


@contextmanager
def opened(images: Path) -> Iterator[Listing]:
    """Detects the layout and lists the images, labels cleaned. Raises InputError."""
    if images.is_dir():
        files = list(_walk(images))
        gnt = [f for f in files if f.suffix.lower() == ".gnt"]
        pictures = [f for f in files if f.suffix.lower() in SUFFIXES]
        if not files:
            raise InputError(f"{images}: the folder is empty; wanted {images}/<label>/*.png")
        if gnt and pictures:
            raise InputError(f"{images}: holds both images and .gnt files; give one of the two")
        if gnt:
            yield _list_gnt(images, gnt, len(files) - len(gnt))
            return
        names = {_relative(f, images): f for f in pictures}
        found = _label_paths(images, names, {n: f.stat().st_size for n, f in names.items()})
        yield Listing(found, _read_file, {}, len(files) - len(pictures))
    elif not images.exists():
        raise InputError(f"{images}: no such folder or file")
    elif images.suffix.lower() == ".gnt":
        yield _list_gnt(images.parent, [images], 0)
    elif zipfile.is_zipfile(images):
        with _open_zip(images) as archive:
            yield _list_zip(images, archive)
    else:
        raise InputError(f"{images}: neither a folder nor a .zip nor a .gnt file")


def _walk(top: Path) -> Iterator[Path]:
    """All regular files below a folder but hidden ones; links are followed, but not in circles."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(top, followlinks=True):
        info = os.stat(folder)  # noqa: PTH116  follows links, as wanted here
        if (info.st_dev, info.st_ino) in seen:
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        folders[:] = sorted(f for f in folders if not _is_hidden(f))
        for name in sorted(files):
            path = Path(folder, name)
            if not _is_hidden(name) and path.is_file():
                yield path


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _relative(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix()


def _printable(path: str) -> str:
    """Names that are no UTF-8 get escapes, so that they can be printed and stored."""
    return path.encode("utf-8", "backslashreplace").decode()


def _label_paths(
    images: Path,
    where: dict[str, Path] | dict[str, zipfile.ZipInfo],  # path inside the data set -> the file
    sizes: dict[str, int],  # path -> bytes
) -> list[Found]:
    """Labels from folder names or, for files that lie in no folder, from `<id>_<label>.<ext>`."""
    if not where:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"{images}: no image in it ({kinds}); wanted {images}/<label>/*.png")
    parts = {path: PurePosixPath(path).parts for path in where}
    wrapped = 0  # folders around everything, as a .zip often has: `set/<label>/1.png`
    first = next(iter(parts.values()))
    while (
        len(first) > wrapped + 1
        and not _is_label(first[wrapped])
        and all(
            p[: wrapped + 1] == first[: wrapped + 1] and len(p) > wrapped + 1
            for p in parts.values()
        )
    ):
        wrapped += 1
    in_folder = {path: len(p) > wrapped + 1 for path, p in parts.items()}
    if len(set(in_folder.values())) > 1:
        loose = next(path for path, inside in in_folder.items() if not inside)
        raise InputError(
            f"{images}: some images lie in class folders, others do not ({_printable(loose)}); "
            "move those into folders named by their label"
        )
    found, clean = [], {}
    for path, place in where.items():
        if in_folder[path]:
            raw, what = parts[path][wrapped], f"folder {'/'.join(parts[path][: wrapped + 1])!r}"
        else:
            match = _NAMED.fullmatch(PurePosixPath(path).stem)
            if not match:
                raise InputError(
                    f"{images}: file {path!r} lies in no class folder and is not named "
                    "<id>_<label>.<ext>; move it to <label>/ or rename it"
                )
            raw, what = match["label"], f"file {path!r}"
        if raw not in clean:
            try:
                clean[raw] = clean_label(raw)
            except InputError as error:
                raise InputError(
                    f"{images}: {what}: {error}; folders and files are named by one character or "
                    f"'other'{_hint(images, parts.values(), wrapped)}"
                ) from None
        found.append(Found(_printable(path), clean[raw], os.fsencode(path), sizes[path], place))
    return found


def _is_label(text: str) -> bool:
    try:
        clean_label(text)
    except InputError:
        return False
    return True


def _hint(images: Path, parts: Iterable[tuple[str, ...]], at: int) -> str:
    """For a folder that holds data sets, train/ and test/ say, instead of classes."""
    inside = sorted({p[at] for p in parts if len(p) > at + 2 and _is_label(p[at + 1])})
    inside = [name for name in inside if not _is_label(name)]
    there = ", ".join(str(images / name) for name in inside[:3])
    return f"; give one of the folders in it: {there}" if inside and images.is_dir() else ""


def _read_file(found: Found) -> bytes:
    assert isinstance(found.where, Path)
    return found.where.read_bytes()


# ---- .zip ----


def _open_zip(images: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(images)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{images}: damaged .zip ({error})") from None


def _list_zip(images: Path, archive: zipfile.ZipFile) -> Listing:
    """Nothing is extracted: members are read one by one into memory."""
    members: dict[str, zipfile.ZipInfo] = {}
    ignored = total_bytes = 0
    for info in archive.infolist():
        name = _member_name(images, info)
        path = PurePosixPath(name)
        if (
            name.startswith("/")
            or "\\" in name
            or ".." in path.parts
            or re.match("[A-Za-z]:", name)
        ):
            raise InputError(f"{images}: member {name!r} points outside the archive; refused")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{images}: member {name!r} is a link; refused")
        if info.is_dir() or any(_is_hidden(part) for part in path.parts):
            continue
        if path.suffix.lower() not in SUFFIXES:
            ignored += 1
            continue
        if info.flag_bits & 0x1:
            raise InputError(f"{images}: encrypted; unpack it and give the folder")
        total_bytes += info.file_size
        members[path.as_posix()] = info
    if total_bytes > MAX_ZIP_BYTES:
        raise InputError(
            f"{images}: {total_bytes / 2**30:.1f} GiB when unpacked, the limit is "
            f"{MAX_ZIP_BYTES / 2**30:.1f}; unpack it and give the folder"
        )

    def read(found: Found) -> bytes:
        assert isinstance(found.where, zipfile.ZipInfo)
        try:
            return archive.read(found.where)
        except Exception as error:  # bad CRC, bad deflate stream, unknown method: many types
            raise InputError(f"damaged in the .zip ({error})") from None

    found = _label_paths(images, members, {n: i.file_size for n, i in members.items()})
    return Listing(found, read, {}, ignored)


def _member_name(images: Path, info: zipfile.ZipInfo) -> str:
    """The name as UTF-8. Without the flag that says so Python takes it for code page 437; Finder
    and others write UTF-8 without the flag."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise InputError(
            f"{images}: member {info.filename!r}: its name is not UTF-8; unpack it with the right "
            "encoding and give the folder"
        ) from None


# ---- CASIA .gnt ----


def _list_gnt(top: Path, files: Sequence[Path], ignored_files: int) -> Listing:
    """CASIA's format: uint32 sample bytes, 2 bytes GBK, uint16 width, uint16 height, the bitmap."""
    found, damaged = [], {}
    for file in files:
        name, size = _relative(file, top), file.stat().st_size
        with file.open("rb") as f:
            at = number = 0
            while at < size:
                number += 1
                path = f"{_printable(name)}#{number:06d}"
                key = os.fsencode(f"{name}#{number:06d}")
                f.seek(at)
                header = f.read(_GNT_HEADER_BYTES)
                length = int.from_bytes(header[:4], "little")
                width, height = (int.from_bytes(header[i : i + 2], "little") for i in (6, 8))
                pixels = width * height
                if pixels == 0 or length != _GNT_HEADER_BYTES + pixels or at + length > size:
                    damaged[path] = "cut or damaged here; the rest of this file is left out"
                    break
                try:
                    label = clean_label(header[4:6].rstrip(b"\0").decode("gbk"))
                except (UnicodeDecodeError, InputError):
                    damaged[path] = f"its tag {header[4:6].hex()} is no character in GBK"
                else:
                    where = (file, at + _GNT_HEADER_BYTES, width, height)
                    found.append(Found(path, label, key, pixels, where))
                at += length
    if not found:
        reason = next(iter(damaged.items()), (str(top), "empty"))
        raise InputError(f"{top}: no character in its .gnt files; first: {reason[0]}: {reason[1]}")
    return Listing(found, _read_gnt, damaged, ignored_files)


def _read_gnt(found: Found) -> bytes:
    """As the bytes of a PGM file."""
    assert isinstance(found.where, tuple)
    file, offset, width, height = found.where
    with file.open("rb") as f:
        f.seek(offset)
        return b"P5 %d %d 255\n" % (width, height) + f.read(width * height)


# ---- import ----


def import_images(
    images: Path,  # folder per class, folder of `<id>_<label>.<ext>`, .zip of either, .gnt
    out: Path,  # the store to make; must not exist
    alphabet: Alphabet | None,  # None: the labels found
    canvas: Canvas,
    val_share: float = 0.1,  # of each class, into the split "val"
    split: str | None = None,  # all images into this split; None: val_share decides
    seed: int = 0,  # of the choice of validation images
    workers: int = 1,  # processes that decode; the store does not depend on it
    outside: str = "error",  # a label outside the alphabet: "error", or "other" to file it there
) -> Store:
    """Makes a store of source "real". Raises InputError and leaves nothing where that fails."""
    if not 0 <= val_share < 1:
        raise InputError(f"validation share {val_share}: wanted 0 <= share < 1")
    if split is not None and split not in SPLITS:
        raise InputError(f"split {split!r}: wanted one of {', '.join(SPLITS)}")
    if workers < 1:
        raise InputError(f"{workers} workers: wanted 1 or more")
    refuse_existing(out)
    with opened(images) as listing:
        found = sorted(listing.found, key=lambda f: (f.label, f.key))
        if alphabet is None:
            alphabet = _found_alphabet(images, found)
        found = _apply_alphabet(images, found, alphabet, outside)
        made = {
            "command": "import_data",
            "images": str(images),
            "val_share": val_share,
            "split": split,
            "seed": seed,
            "outside": outside,
            "pillow": PIL.__version__,
        }
        notes: dict[str, object] = {}
        with (
            StoreWriter(out, canvas, alphabet, made, notes) as writer,
            tempfile.TemporaryFile(dir=out.parent) as spool,  # has no name: gone with the process
        ):
            pixels, skipped = _spool_images(listing, found, canvas, workers, spool)
            skipped = listing.damaged | skipped
            usable = [f for f in found if f.path not in skipped]
            if not usable:
                first, reason = next(iter(skipped.items()))
                raise InputError(
                    f"{images}: none of its {len(skipped)} images can be used; "
                    f"first: {first}: {reason}"
                )
            hashes = [hashlib.sha256(image).hexdigest() for image in pixels]
            kept, duplicates = _drop_duplicates(usable, hashes)
            conflicts = _label_conflicts(usable, hashes, kept)
            splits = _splits(
                [usable[i].label for i in kept], [hashes[i] for i in kept], split, val_share, seed
            )
            notes["skipped"] = dict(sorted(skipped.items()))
            notes["duplicates"] = duplicates
            notes["label_conflicts"] = conflicts
            notes["ignored_files"] = listing.ignored_files
            samples = [_sample(usable[i], s) for i, s in zip(kept, splits, strict=True)]
            for at in range(0, len(kept), APPEND_IMAGES):
                rows = slice(at, at + APPEND_IMAGES)
                writer.append(pixels[kept[rows]], samples[rows])
    return Store.open(out)


def _sample(found: Found, split: str) -> Sample:
    return Sample(
        label=found.label,
        char=found.char,
        source="real",
        split=split,
        kind="unknown" if found.label == OTHER else "character",
        origin=found.path,
    )


def _found_alphabet(images: Path, found: Sequence[Found]) -> Alphabet:
    labels = {f.label for f in found} - {OTHER}
    if not labels:
        raise InputError(f"{images}: only images of 'other' in it; give --alphabet")
    return Alphabet.of(labels)


def _apply_alphabet(
    images: Path, found: Sequence[Found], alphabet: Alphabet, outside: str
) -> list[Found]:
    """Sets `char`, and files labels outside the alphabet under "other" or refuses them."""
    if outside not in ("error", "other"):
        raise InputError(f"outside {outside!r}: wanted 'error' or 'other'")
    known = set(alphabet.classes)
    strange = [f for f in found if f.label not in known]
    if strange and outside == "error":
        labels = sorted({f.label for f in strange})
        shown = "".join(labels[:20]) + (" ..." if len(labels) > 20 else "")
        raise InputError(
            f"{images}: {strange[0].path} has the label {strange[0].label!r}, which is not in the "
            f"alphabet ({len(strange)} images of {len(labels)} such labels: {shown}); "
            "add it to the alphabet or file it under other with --outside other"
        )
    return sorted(
        (
            replace(
                f,
                label=f.label if f.label in known else OTHER,
                char="" if f.label == OTHER else f.label,
            )
            for f in found
        ),
        key=lambda f: (f.label, f.key),
    )


def _spool_images(
    listing: Listing, found: Sequence[Found], canvas: Canvas, workers: int, spool: IO[bytes]
) -> tuple[np.ndarray, dict[str, str]]:
    """Decodes all. Returns the usable images in order, [n, H, W] uint8, a memory map of the spool;
    and path -> reason of the skipped ones."""
    skipped: dict[str, str] = {}
    count = 0
    with progress(len(found), "image", "import") as bar:
        for chunk, images, reasons in _decoded(listing, found, canvas, workers):
            for one, image, reason in zip(chunk, images, reasons, strict=True):
                if not reason and one.label != OTHER and not image.any():
                    reason = "blank"
                if reason:
                    skipped[one.path] = reason
                else:
                    spool.write(image.tobytes())
                    count += 1
            bar.update(len(chunk))
    spool.flush()
    shape = (count, canvas.size_px, canvas.size_px)
    if count == 0:
        return np.zeros(shape, np.uint8), skipped
    return np.memmap(spool, np.uint8, "r", shape=shape), skipped


Decoded = tuple[np.ndarray, list[str]]  # [n, H, W] uint8, n reasons ("" for a good image)


def _decoded(
    listing: Listing, found: Sequence[Found], canvas: Canvas, workers: int
) -> Iterator[tuple[list[Found], np.ndarray, list[str]]]:
    """The chunks of `found` in order, decoded by `workers` processes."""
    workers = min(workers, -(-len(found) // CHUNK_IMAGES))
    if workers == 1:
        for chunk, data in _chunks(listing, found):
            yield chunk, *_decode_chunk(data, canvas)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_leave_interrupts) as pool:
        waiting: deque = deque()
        try:
            for chunk, data in _chunks(listing, found):
                waiting.append((chunk, pool.submit(_decode_chunk, data, canvas)))
                if len(waiting) >= 2 * workers:  # bounds what is in memory
                    chunk, future = waiting.popleft()
                    yield chunk, *future.result()
            while waiting:
                chunk, future = waiting.popleft()
                yield chunk, *future.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed (no memory left?); try --workers 1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunks(
    listing: Listing, found: Sequence[Found]
) -> Iterator[tuple[list[Found], list[bytes | str]]]:
    """Images with the bytes of their files, or the reason (a str) where they cannot be read."""
    chunk: list[Found] = []
    data: list[bytes | str] = []
    total_bytes = 0
    for one in found:
        chunk.append(one)
        data.append(_read(listing, one))
        total_bytes += len(data[-1])
        if len(chunk) == CHUNK_IMAGES or total_bytes >= CHUNK_BYTES:
            yield chunk, data
            chunk, data, total_bytes = [], [], 0
    if chunk:
        yield chunk, data


def _read(listing: Listing, found: Found) -> bytes | str:
    if found.bytes_on_disk > MAX_FILE_BYTES:
        return f"{found.bytes_on_disk / 2**20:.0f} MiB, the limit is {MAX_FILE_BYTES / 2**20:.0f}"
    try:
        return listing.read(found)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except InputError as error:
        return str(error)


def _decode_chunk(data: Sequence[bytes | str], canvas: Canvas) -> Decoded:
    images = np.zeros((len(data), canvas.size_px, canvas.size_px), np.uint8)
    reasons = [""] * len(data)
    for i, one in enumerate(data):
        if isinstance(one, str):
            reasons[i] = one
            continue
        try:
            images[i] = decode(one, canvas)
        except InputError as error:
            reasons[i] = str(error)
    return images, reasons


# ---- duplicates and splits ----


def _drop_duplicates(
    usable: Sequence[Found], hashes: Sequence[str]
) -> tuple[list[int], dict[str, str]]:
    """The indices to keep, and path -> path of the same image with the same label that is kept."""
    first: dict[tuple[str, str], int] = {}
    dropped: dict[str, str] = {}
    for i, one in enumerate(usable):
        j = first.setdefault((one.label, hashes[i]), i)
        if j != i:
            dropped[one.path] = usable[j].path
    return sorted(first.values()), dropped


def _label_conflicts(
    usable: Sequence[Found], hashes: Sequence[str], kept: Sequence[int]
) -> list[dict[str, str]]:
    """Path -> label of the same image filed under several labels, one dict an image."""
    same: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        same[hashes[i]].append(i)
    return [
        {usable[i].path: usable[i].label for i in group}
        for group in same.values()
        if len(group) > 1
    ]


def _splits(
    labels: Sequence[str], hashes: Sequence[str], split: str | None, val_share: float, seed: int
) -> list[str]:
    """The split of each image, from the content alone: names and order do not matter.

    round(n * val_share) of a class's n images go to "val", those with the lowest hash of (seed,
    content). An image filed under several labels stays in "train" under all of them: a label that
    is surely wrong somewhere is no measure.
    """
    if split is not None:
        return [split] * len(labels)
    count = Counter(hashes)
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        by_label[label].append(i)
    result = ["train"] * len(labels)
    for rows in by_label.values():
        order = sorted(
            (i for i in rows if count[hashes[i]] == 1),
            key=lambda i: hashlib.sha256(f"{seed}:{hashes[i]}".encode()).digest(),
        )
        for i in order[: round(len(rows) * val_share)]:
            result[i] = "val"
    return result
