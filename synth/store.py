"""A store: a folder of images with one row a sample, the same for real, font and GAN images.

    images.npy        uint8 [N, H, W], ink high on 0, readable as a memory map
    samples.parquet   one row an image: see `SCHEMA`
    store.json        format version, canvas, alphabet and its digest, counts, how it was made

It is written beside its final name and renamed when whole, so a folder with a `store.json` is
complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tokenize import TokenError
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.files import sync, write_whole

FORMAT = 1
SOURCES = ("real", "font", "gan")
SCHEMA = pa.schema(
    [
        ("label", pa.string()),  # a character of the alphabet, or "other"
        ("char", pa.string()),  # what the image shows; "" where unknown (real "other" images)
        ("kind", pa.string()),  # character, confusable, common, blank, cut, two, ...
        ("source", pa.string()),  # real, font, gan
        ("split", pa.string()),  # train, val, test
        ("origin", pa.string()),  # the file, the font, or checkpoint and glyph
        ("record", pa.string()),  # JSON: how it was drawn, "" for real images
        ("seed", pa.int64()),
        ("sha256", pa.string()),  # of the image's bytes in images.npy
        ("score", pa.float32()),  # a recogniser's probability of `char`; NaN where none was asked
    ]
)
_HEADER_BYTES = 128  # of images.npy: fixed, so that the count can be written at the end
_LONG = ("record", "sha256")  # columns that are not kept once read: most of a table's bytes
_READ_ROWS = 8192  # of the table or the images at a time, where all of it is looked at
_PARTS = ("images.npy", "samples.parquet")
Stamp = tuple[int, int, int]  # a file's number, its time of change in ns, its bytes


@dataclass(frozen=True)
class Sample:
    """One image's row. The writer fills in sha256."""

    label: str
    char: str
    source: str
    split: str = "train"
    kind: str = "character"
    origin: str = ""
    record: str = ""
    seed: int = 0
    score: float = float("nan")


@dataclass(frozen=True)
class Store:
    """A store opened for reading. `images` is a memory map: nothing is read until it is indexed.
    The table is read column by column, when it is asked for.
    """

    path: Path
    canvas: Canvas
    alphabet: Alphabet
    images: np.ndarray  # [N, H, W] uint8
    info: dict[str, Any]
    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict, repr=False)  # read so far
    stamps: tuple[Stamp, ...] = ()  # of `_PARTS` when it was opened; (): not compared

    @classmethod
    def open(cls, path: Path) -> Store:
        """Raises InputError where the folder is no complete store or its parts disagree."""
        path = Path(path)
        again = "make the store again"
        if not (path / "store.json").is_file():
            raise InputError(f"{path}: no store (no store.json in it); import_data.py makes one")
        try:
            info = json.loads((path / "store.json").read_text(encoding="utf-8"))
            version = info["format"]
            if version != FORMAT:  # before the rest, which another version may not have
                raise InputError(f"{path}: store format {version}, this version reads {FORMAT}")
            count, digest = info["images"], info["digest"]
            canvas, alphabet = Canvas(**info["canvas"]), Alphabet(tuple(info["alphabet"]))
            notes = info.setdefault("notes", {})
            if not isinstance(info["made"], dict) or not isinstance(notes, dict):
                raise TypeError("made or notes")
            there = alphabet.digest
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{path}/store.json: damaged ({line}); {again}") from None
        if there != digest:
            raise InputError(
                f"{path}: its alphabet has digest {there}, store.json says {digest}; {again}"
            )
        shape = (count, canvas.size_px, canvas.size_px)
        try:
            stamps = tuple(_stamp(path / name) for name in _PARTS)  # before they are read
            images = np.lib.format.open_memmap(path / "images.npy", mode="r")
            table = _Survey.of(path / "samples.parquet")
        except (OSError, ValueError, SyntaxError, TokenError, pa.ArrowException) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: damaged ({line}); {again}") from None
        if table.schema != SCHEMA:
            raise InputError(
                f"{path}/samples.parquet: columns {table.schema.names}, "
                f"wanted {SCHEMA.names}; {again}"
            )
        if images.shape != shape or images.dtype != np.uint8 or table.rows != count:
            raise InputError(
                f"{path}: store.json says {shape} uint8, images.npy holds {images.shape} "
                f"{images.dtype}, samples.parquet {table.rows} rows; {again}"
            )
        lost = table.labels - set(alphabet.classes)
        if lost or table.gaps:
            raise InputError(
                f"{path}/samples.parquet: labels that are not in the alphabet "
                f"({', '.join(map(repr, sorted(map(str, lost))[:5]))}) or missing values; {again}"
            )
        return cls(path, canvas, alphabet, images, info, stamps=stamps)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """[n] int64 -> [n, H, W] uint8, a copy. Raises InputError where the store is cut or changed
        since it was opened.

        To read a map beyond the end of its file kills the process, so the file is asked first.
        """
        self._require_same()
        return np.asarray(self.images[rows])

    @property
    def table(self) -> pa.Table:
        """All rows and columns, read anew. Raises InputError as `column` does."""
        return self._read(SCHEMA.names)

    def column(self, name: str) -> np.ndarray:
        """One column of the table as a numpy array (strings as objects). Raises InputError where
        the table was changed or removed since the store was opened."""
        return self._column(name).to_numpy(zero_copy_only=False)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name in self.columns:
            return self.columns[name]
        column = self._read([name]).column(name)
        if name not in _LONG:
            self.columns[name] = column
        return column

    def _require_same(self) -> None:
        """A store made anew under the same name may have as many rows: their columns, read when
        they are asked for, would be of two stores."""
        for name, stamp in zip(_PARTS, self.stamps, strict=False):
            path = self.path / name
            try:
                now = _stamp(path)
            except OSError as error:
                raise InputError(
                    f"{path}: {error.strerror}: changed since the store was opened"
                ) from None
            if now != stamp:
                sizes = f": {now[2]} bytes, {stamp[2]} when it was opened"
                raise InputError(
                    f"{path}: changed since the store was opened"
                    + (sizes if now[2] != stamp[2] else "")
                )

    def _read(self, names: list[str]) -> pa.Table:
        self._require_same()
        path = self.path / "samples.parquet"
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(names)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: changed since the store was opened ({line})") from None
        if table.num_rows != self.info["images"] or table.schema.names != names:
            raise InputError(f"{path}: changed since the store was opened")
        self._require_same()  # nor while it was read
        return table

    def classes(self) -> np.ndarray:
        """[N] int64 class numbers of `label`."""
        index = self.alphabet.index()
        return np.array([index[label] for label in self.column("label")], np.int64)

    @property
    def content(self) -> str:
        """12 hex digits of the images, their labels and splits, in order."""
        digest = hashlib.sha256()
        for name in ("sha256", "label", "char", "split"):
            between = ""  # the parts of a column, joined to one text
            for part in filter(len, self._column(name).chunks):
                digest.update((between + "\n".join(part.to_pylist())).encode())
                between = "\n"
        return digest.hexdigest()[:12]

    def require_unchanged(self) -> None:
        """Raises InputError naming the first image whose bytes are not those that were written,
        which `content` cannot see. Reads all images."""
        digests = self._column("sha256")
        for start in range(0, len(digests), _READ_ROWS):
            part = digests.slice(start, _READ_ROWS).to_pylist()
            images = self.take(np.arange(start, start + len(part)))
            for row, (image, digest) in enumerate(zip(images, part, strict=True), start):
                if hashlib.sha256(image.tobytes()).hexdigest() != digest:
                    origin = self.column("origin")[row]
                    raise InputError(
                        f"{self.path}/images.npy: image {row}{f' ({origin})' if origin else ''} is "
                        "not the one that was written; make the store again"
                    )

    def rows(self, split: str) -> np.ndarray:
        """[n] int64: the rows of a split, in order."""
        return np.flatnonzero(self.column("split") == split)

    def require(self, canvas: Canvas, alphabet: Alphabet) -> None:
        """Raises InputError, showing both sides, where this store was made for something else."""
        if self.canvas != canvas:
            raise InputError(f"{self.path}: canvas {self.canvas}, wanted {canvas}")
        if self.alphabet != alphabet:
            raise InputError(
                f"{self.path}: alphabet {self.alphabet.digest} of {len(self.alphabet)} characters, "
                f"wanted {alphabet.digest} of {len(alphabet)}; "
                f"only here: {_some(set(self.alphabet.chars) - set(alphabet.chars))}, "
                f"only there: {_some(set(alphabet.chars) - set(self.alphabet.chars))}"
            )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Survey:
    """What a table holds, found by looking at all of it and keeping none."""

    schema: pa.Schema
    rows: int
    labels: set[str]
    gaps: bool  # whether values are missing

    @classmethod
    def of(cls, path: Path) -> _Survey:
        """Raises what pyarrow raises for a damaged file."""
        labels: set[str] = set()
        gaps = False
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow == SCHEMA:
                for part in file.iter_batches(_READ_ROWS):
                    part.validate(full=True)  # strings that are no UTF-8
                    labels.update(part.column("label").unique().to_pylist())
                    gaps |= any(column.null_count for column in part.columns)
            return cls(file.schema_arrow, file.metadata.num_rows, labels, gaps)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _some(chars: set[str]) -> str:
    return "".join(sorted(chars)[:20]) + (" ..." if len(chars) > 20 else "") or "none"


class StoreWriter:
    """Writes a store of any size in bounded memory.

        with StoreWriter(out, canvas, alphabet, made={...}) as writer:
            writer.append(images, samples)

    The folder gets its name when the block ends without an error; otherwise nothing stays. A second
    process that writes to the same name is refused.
    """

    def __init__(
        self,
        path: Path,  # the folder to make; must not exist
        canvas: Canvas,
        alphabet: Alphabet,
        made: dict[str, Any],  # how: command, arguments, versions, licences; JSON values
        notes: dict[str, Any] | None = None,  # more that only becomes known while writing
    ) -> None:
        self.path, self.canvas, self.alphabet = Path(path), canvas, alphabet
        self.made, self.notes = made, notes if notes is not None else {}
        refuse_existing(self.path)
        # what else is put in here gets its final name with the store
        self.part = self.path.with_name(f".{self.path.name}.partial")
        self._classes = frozenset(alphabet.classes)
        self._count = 0
        self._labels: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        with ExitStack() as undo:  # whatever fails, what was begun is taken back
            self.path.parent.mkdir(parents=True, exist_ok=True)
            undo.callback(lock_output(self.path).release)
            refuse_existing(self.path)  # another process may have finished it meanwhile
            shutil.rmtree(self.part, ignore_errors=True)  # what a killed process left
            undo.callback(shutil.rmtree, self.part, ignore_errors=True)
            self.part.mkdir()
            self._images = undo.enter_context((self.part / "images.npy").open("wb"))
            self._images.write(b"\0" * _HEADER_BYTES)
            self._table = pq.ParquetWriter(
                self.part / "samples.parquet", SCHEMA, write_page_checksum=True
            )
            self._undo = undo.pop_all()
        return self

    def append(self, images: np.ndarray, samples: Sequence[Sample]) -> None:
        """[n, H, W] uint8 with n samples."""
        size = self.canvas.size_px
        if images.shape != (len(samples), size, size) or images.dtype != np.uint8:
            raise ValueError(
                f"{images.shape} {images.dtype} for {len(samples)} samples of {size} px"
            )
        if not samples:
            return
        for sample in samples:
            if sample.label not in self._classes:
                raise ValueError(f"label {sample.label!r} is not in the alphabet")
        columns: dict[str, list[Any]] = {
            field.name: [getattr(sample, field.name) for sample in samples]
            for field in fields(Sample)
        }
        columns["sha256"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        self._labels.update(zip(columns["split"], columns["label"], strict=True))
        self._images.write(np.ascontiguousarray(images).data)
        self._table.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
        self._count += len(samples)

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        with self._undo:
            self._table.close()
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if self._count == 0:
            raise InputError(f"{self.path}: not one image to put into the store")
        size = self.canvas.size_px
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, size, size)}
        text = (repr(header)).encode("latin1")
        prefix = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
        self._images.seek(0)
        self._images.write(prefix + text.ljust(_HEADER_BYTES - 11) + b"\n")
        self._images.flush()
        os.fsync(self._images.fileno())
        splits = sorted({split for split, _ in self._labels})
        counts = {
            split: {c: n for c in self.alphabet.classes if (n := self._labels[split, c])}
            for split in splits
        }
        info = {
            "format": FORMAT,
            "images": self._count,
            "canvas": asdict(self.canvas),
            "alphabet": list(self.alphabet.chars),
            "digest": self.alphabet.digest,
            "counts": counts,
            "made": self.made,
            "notes": self.notes,
        }
        text = json.dumps(info, ensure_ascii=False, indent=1)
        # of a path that is no UTF-8 JSON's escapes, which are read as the same path
        write_whole(self.part / "store.json", text.encode("utf-8", "backslashreplace"))
        sync(self.part / "samples.parquet")
        os.rename(self.part, self.path)  # noqa: PTH104  fails on a folder that came meanwhile
        sync(self.path.parent)


class Lock:
    """An exclusive hold on an output's name, gone with the process that has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._file = path.open("w")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(self._file.fileno()).st_ino:
                    return
            except BlockingIOError:
                self._file.close()
                raise InputError(f"{path}: another process is writing this output") from None
            except FileNotFoundError:
                pass
            self._file.close()  # a holder released and removed it just before: this is no lock

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()


def lock_output(path: Path) -> Lock:
    """Refuses a second process that writes to the same output. Raises InputError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Lock(path.with_name(f".{path.name}.lock"))


def refuse_existing(path: Path) -> None:
    """Raises InputError where the output is already there: nothing is ever overwritten."""
    if path.exists():
        what = "a finished store" if (path / "store.json").exists() else "something"
        raise InputError(f"{path}: {what} is there already; remove it or choose another --out")
