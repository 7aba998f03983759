"""Fonts for the page to write on: its labels, where the visitor's machine has no font for them."""

from __future__ import annotations

import logging
import threading

from synth.alphabet import Alphabet

_log = logging.getLogger("inkfill.serve")


class Labels:
    """Cut once, in the background, when the first page asks: a second or so of one core, which a
    service that nobody writes at never spends."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._lock = threading.Lock()
        self._started = False
        self._css: str | None = None

    def css(self) -> str | None:
        """Style rules with the fonts in them, "" where none is needed or there; None: not yet."""
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._cut, name="labels", daemon=True).start()
        return self._css

    def _cut(self) -> None:
        try:
            from synth.page_fonts import css, page_fonts  # fonts: as in `classifier.serve.glyphs`

            self._css = css(page_fonts("".join(self._alphabet.chars)))
        except Exception:
            _log.exception("the fonts of the labels could not be cut")
            self._css = ""
