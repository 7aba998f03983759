"""Answers kept for later labelling: the image file as sent, named by its answer, and a table.

    DIR/00000001/<server_uuid>_<label>.<ext>    what `import_data.py DIR/00000001` reads as it is
    DIR/00000001/answers.jsonl                  time, label, confidence, other score, a line each

A folder holds 1,000 answers; the oldest folders go when there are more answers than wanted.
"""

from __future__ import annotations

import json
import logging
import queue
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from classifier.card import Prediction
from classifier.serve.metrics import Metrics
from synth.errors import InputError

PER_FOLDER = 1000
MAX_WAITING = 256  # answers not yet written; more are dropped, and counted
_SIGNATURES = (  # of what synth.decode reads
    (b"\x89PNG", "png"),
    (b"\xff\xd8", "jpg"),
    (b"BM", "bmp"),
    (b"GIF8", "gif"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
    (b"RIFF", "webp"),
)
_log = logging.getLogger("inkfill.serve")


@dataclass(frozen=True)
class Answered:
    """One image and what was said of it."""

    server_uuid: str
    file: bytes
    prediction: Prediction
    timestamp: float  # seconds since 1970


class Keeper:
    """Writes in a thread of its own: no answer waits for the disk."""

    def __init__(self, folder: Path, max_answers: int, metrics: Metrics) -> None:
        """Raises InputError for a folder that cannot be written to."""
        if max_answers < PER_FOLDER:
            raise InputError(f"--keep-answers {max_answers}: {PER_FOLDER} or more")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            raise InputError(f"--keep {folder}: {error.strerror}") from None
        self._folder, self._metrics = folder, metrics
        self._max_folders = max_answers // PER_FOLDER
        self._queue: queue.Queue[Answered | None] = queue.Queue(MAX_WAITING)
        last = max((int(f.name) for f in self._folders()), default=0)
        self._number, self._count = last + 1, 0
        self._thread = threading.Thread(target=self._write_all, name="keeper", daemon=True)
        self._thread.start()

    def put(self, answered: Answered) -> None:
        """Returns at once; an answer that does not fit into the queue is dropped and counted."""
        try:
            self._queue.put_nowait(answered)
        except queue.Full:
            self._metrics.kept.labels("dropped").inc()

    def close(self) -> None:
        """Returns when all is written."""
        self._queue.put(None)
        self._thread.join()

    def _folders(self) -> list[Path]:
        """Oldest first."""
        found = (f for f in self._folder.iterdir() if f.is_dir() and f.name.isdecimal())
        return sorted(found, key=lambda f: int(f.name))

    def _write_all(self) -> None:
        failing = False
        while (answered := self._queue.get()) is not None:
            try:
                self._write(answered)
                outcome, failing = "written", False
            except OSError as error:  # a full disk must not stop the answers
                if not failing:
                    _log.error("answers are not kept: %s", error)
                outcome, failing = "failed", True
            self._metrics.kept.labels(outcome).inc()

    def _write(self, answered: Answered) -> None:
        if self._count == PER_FOLDER:
            self._number, self._count = self._number + 1, 0
        folder = self._folder / f"{self._number:08d}"
        if not self._count:
            folder.mkdir(exist_ok=True)
            for old in self._folders()[: -self._max_folders]:
                shutil.rmtree(old, ignore_errors=True)
        said = answered.prediction
        name = f"{answered.server_uuid}_{_in_file_name(said.label)}.{_suffix(answered.file)}"
        (folder / name).write_bytes(answered.file)
        row = {
            "file": name,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(answered.timestamp)),
            "label": said.label,
            "confidence": round(said.confidence, 4),
            "other": round(said.other, 6),
        }
        with (folder / "answers.jsonl").open("a", encoding="utf-8") as table:
            table.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._count += 1


def _in_file_name(label: str) -> str:
    """ "/" cannot stand in a name; the table has the label as it is."""
    return label.replace("/", "U+002F")


def _suffix(file: bytes) -> str:
    return next((ext for start, ext in _SIGNATURES if file.startswith(start)), "ppm")
