"""The glyphs most like an image, drawn when the first one asks."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from classifier.serve.limits import late, require_time
from synth.alphabet import Alphabet

if TYPE_CHECKING:  # fonts and what draws them take a quarter of a server's start to import
    from classifier.serve.nearest import Glyph
    from synth.likeness import Atlas

_log = logging.getLogger("inkfill.serve")


class Glyphs:
    """Drawn once, in the background, by whoever asks first."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._lock = threading.Lock()  # FreeType's faces are not for two threads
        self._started = False
        self._atlas: Atlas | None = None
        self._failed = False

    def nearest(self, image: np.ndarray, count: int, deadline: float) -> list[Glyph] | None:
        """[H, W] uint8 on a canvas -> the glyphs most like it, each character once; None: they are
        still being drawn. deadline: in `time.monotonic()`; past it, Refused, 503."""
        require_time(deadline)
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise late()
        try:
            if self._failed:
                return []
            if self._atlas is None:
                if not self._started:
                    self._started = True
                    threading.Thread(target=self._draw, name="glyphs", daemon=True).start()
                return None
            from classifier.serve.nearest import nearest_glyphs

            return nearest_glyphs(self._atlas, image, count)
        finally:
            self._lock.release()

    def _draw(self) -> None:
        started = time.monotonic()
        try:
            from classifier.serve.nearest import drawn

            atlas = drawn(self._alphabet)
        except Exception:
            _log.exception("the glyphs could not be drawn")
            self._failed = True
            return
        with self._lock:
            self._atlas = atlas
        _log.info("glyphs drawn in %.1f s", time.monotonic() - started)
