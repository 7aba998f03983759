"""Answers kept for later labelling: the image file as sent, named by its answer, and a table.

    DIR/00000001/<server_uuid>_<label>.<ext>    what `import_data.py DIR/00000001` reads as it is
    DIR/00000001/answers.jsonl                  time, label, confidence, other score, a line each

A folder holds 1,000 answers, or fewer where they are large. The oldest folders go when there are
more answers, or more bytes, than wanted, those of earlier runs of the server counted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from classifier.card import Prediction
from classifier.serve.metrics import Metrics
from synth.alphabet import name_of
from synth.errors import InputError

PER_FOLDER = 1000
MOST_OF_ALL = 4  # a folder takes at most 1 / 4 of the bytes: so much goes at a time
LEAST_BYTES = 2**20
MAX_WAITING = 256  # answers not yet written; more are dropped, and counted
MAX_WAITING_BYTES = 64 * 2**20  # of their files, likewise
CLOSE_S = 4.0  # longest wait for them at the end: with --grace-s it is within a platform's patience
LOCK = ".lock"  # in the folder, of the service that writes to it
TABLE = "answers.jsonl"
_SIGNATURES = (  # of what synth.decode reads
    (b"\x89PNG", "png"),
    (b"\xff\xd8", "jpg"),
    (b"BM", "bmp"),
    (b"GIF8", "gif"),
    (b"II", "tif"),
    (b"MM", "tif"),
    (b"RIFF", "webp"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "j2k"),
)
_log = logging.getLogger("inkfill.serve")


@dataclass(frozen=True)
class Answered:
    """One image and what was said of it."""

    server_uuid: str
    file: bytes
    prediction: Prediction
    timestamp: float  # seconds since 1970


@dataclass
class _Folder:
    """What one folder holds."""

    path: Path
    answers: int = 0
    bytes_on_disk: int = 0

    @classmethod
    def found(cls, path: Path) -> _Folder:
        """By its files; one that goes meanwhile is not counted."""
        folder = cls(path)
        for file in path.iterdir():
            try:
                folder.bytes_on_disk += file.stat().st_size
            except OSError:
                continue
            folder.answers += file.name != TABLE
        return folder


class Keeper:
    """Writes in a thread of its own: no answer waits for the disk."""

    def __init__(self, folder: Path, max_answers: int, max_bytes: int, metrics: Metrics) -> None:
        """Raises InputError for a folder that cannot be written to, or that another service has."""
        if max_answers < PER_FOLDER:
            raise InputError(f"--keep-answers {max_answers}: {PER_FOLDER} or more")
        if max_bytes < LEAST_BYTES:
            raise InputError(f"--keep-bytes {max_bytes}: {LEAST_BYTES} or more")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK).open("w")
        except OSError as error:
            raise InputError(f"--keep {folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = [f for f in folder.iterdir() if f.is_dir() and f.name.isdecimal()]
            there.sort(key=lambda f: int(f.name))
            self._folders = deque(_Folder.found(f) for f in there)  # the oldest first
        except OSError as error:
            self._lock.close()
            taken = isinstance(error, BlockingIOError)
            reason = "another service keeps its answers there" if taken else error.strerror
            raise InputError(f"--keep {folder}: {reason}") from None
        self._folder, self._metrics = folder, metrics
        self._max_answers, self._max_bytes = max_answers, max_bytes
        self._number = int(there[-1].name) if there else 0
        self._now: _Folder | None = None  # the one that is filled, the last of all
        self._queue: queue.Queue[Answered | None] = queue.Queue(MAX_WAITING)
        self._waiting, self._waiting_bytes = 0, 0  # answers not yet written, and their files
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="keeper", daemon=True)
        self._thread.start()

    def put(self, answered: Answered) -> None:
        """Returns at once; an answer that does not fit into the queue is dropped and counted."""
        size = len(answered.file)
        with self._counting:
            has_room = not self._queue.full() and self._waiting_bytes + size <= MAX_WAITING_BYTES
            if has_room:
                self._waiting += 1
                self._waiting_bytes += size
                self._queue.put_nowait(answered)
        if not has_room:
            self._metrics.kept.labels("dropped").inc()

    def close(self) -> None:
        """Returns when all is written; after CLOSE_S at the latest, so that a disk that hangs holds
        no shutdown up. What is then left is told in the log."""
        deadline = time.monotonic() + CLOSE_S
        with suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_S if self._thread.is_alive() else 0.0)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._counting:
            left = self._waiting
        if left:
            _log.error("stopped with %d answers not kept", left)
        if not self._thread.is_alive():  # else it may still write: nobody else is to
            self._lock.close()

    def _write_all(self) -> None:
        failing = False
        while (answered := self._queue.get()) is not None:
            try:
                self._write(answered)
                outcome, failing = "written", False
            except Exception as error:  # a full disk, or what it be, must not stop the answers
                if not failing:
                    # what is no fault of the disk is one of this program: told with its place
                    ours = not isinstance(error, OSError)
                    _log.error("answers are not kept: %s", error, exc_info=ours)
                outcome, failing = "failed", True
            with self._counting:
                self._waiting -= 1
                self._waiting_bytes -= len(answered.file)
            self._metrics.kept.labels(outcome).inc()

    def _write(self, answered: Answered) -> None:
        said = answered.prediction
        name = f"{answered.server_uuid}_{name_of(said.label)}.{_suffix(answered.file)}"
        row = {
            "file": name,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(answered.timestamp)),
            "label": said.label,
            "confidence": round(said.confidence, 4),
            "other": round(said.other, 6),
        }
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        size = len(answered.file) + len(line)
        now = self._room_for(size)
        now.path.mkdir(exist_ok=True)
        file, table = now.path / name, now.path / TABLE
        before = table.stat().st_size if table.exists() else 0
        try:
            file.write_bytes(answered.file)
            with table.open("ab") as rows:
                rows.write(line)
        except Exception:  # no space, say: what there is of it would be taken for an answer
            file.unlink(missing_ok=True)
            if table.exists():
                os.truncate(table, before)
            raise
        now.answers, now.bytes_on_disk = now.answers + 1, now.bytes_on_disk + size

    def _room_for(self, size: int) -> _Folder:
        """The folder that an answer of so many bytes goes to. Old ones go first, for the room."""
        now = self._now
        most = self._max_bytes // MOST_OF_ALL
        if now is None or (
            now.answers and (now.answers >= PER_FOLDER or now.bytes_on_disk + size > most)
        ):
            self._number += 1
            self._now = now = _Folder(self._folder / f"{self._number:08d}")
            self._folders.append(now)
        for oldest in list(self._folders)[:-1]:
            if not self._is_too_much(size):
                break
            shutil.rmtree(oldest.path, ignore_errors=True)
            if not oldest.path.exists():  # else it goes on counting, and the next one goes
                self._folders.remove(oldest)
        if len(self._folders) > 1 and self._is_too_much(size):
            raise OSError(f"{self._folders[0].path} cannot be removed, and there is no more room")
        return now

    def _is_too_much(self, size: int) -> bool:
        """With one more answer of so many bytes."""
        return (
            sum(f.answers for f in self._folders) >= self._max_answers
            or sum(f.bytes_on_disk for f in self._folders) + size > self._max_bytes
        )


def _suffix(file: bytes) -> str:
    return next((ext for start, ext in _SIGNATURES if file.startswith(start)), "ppm")
