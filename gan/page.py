"""The page of an evaluation: the table, a contact sheet real | font | GAN, the classes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from gan.pictures import Pictures
from gan.sets import Evaluated
from gan.verdict import table
from synth.files import write_text, write_whole
from synth.fonts import script_of
from synth.page_fonts import with_fonts

SHOWN_CHARS, SHOWN_NEVER = 20, 5
SHOWN_IMAGES = 4  # of each source
_GAP_PX = 4

_PAGES = jinja2.Environment(autoescape=True)
# a browser picks its font for these by language
_PAGES.tests["han"] = lambda char: script_of(char) == "CJK"
_PAGE = _PAGES.from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>GAN evaluation</title><style>
:root { color-scheme: light dark }
body { font: 15px/1.5 "Inkfill labels", system-ui, sans-serif; max-width: 1100px;
  margin: 1rem auto; padding: 0 1rem }
pre { overflow-x: auto } td, th { padding: .15rem .7rem; text-align: right }
td:first-child { font-size: 1.3em } img { background: #fff; height: 64px; vertical-align: middle }
.scroll { overflow-x: auto }
</style></head><body>
<h1>GAN evaluation</h1>
<p>Features are those of a recogniser trained on this data, not Inception's: the figures compare
sources with each other, here, and with nothing published.</p>
<pre>{{ table }}</pre>
<h2>Real, font, GAN</h2>
<div class="scroll"><table><tr><th></th><th>real images</th>
{% for name in ("real", "font", "GAN") %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>
<td{% if row.char is han %} lang="zh"{% endif %}>{{ row.char }}</td><td>{{ row.real }}</td>
{% for strip in row.strips %}<td>{% if strip %}<img src="{{ strip }}" alt="">{% endif %}</td>
{% endfor %}</tr>{% endfor %}</table></div>
<h2>Classes</h2>
<p>Share read by the reader; accuracy score of a classifier trained on font or GAN images only;
distance to the nearest training image in units of the distance among real ones.</p>
<div class="scroll"><table><tr><th></th><th>real images</th><th>read: real</th><th>font</th>
<th>GAN</th><th>score: font</th><th>GAN</th><th>nearest</th></tr>
{% for c in classes %}<tr>
<td{% if c.char is han %} lang="zh"{% endif %}>{{ c.char }}</td><td>{{ c.real }}</td>
{% for v in c["values"] %}<td>{{ "–" if v is none else "%.3f"|format(v) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
</body></html>
"""
)


def write_page(out: Path, sets: Evaluated, figures: dict[str, Any]) -> None:
    """`out`/report.html and `out`/contact_sheet.png."""
    chars = picked(sets)
    strips = {c: [_strip(source, c) for source in _sources(sets)] for c in chars}
    rows = [
        {
            "char": c,
            "real": sets.counts.get(c, 0),
            "strips": [_uri(s) if s.any() else None for s in strips[c]],
        }
        for c in chars
    ]
    page = _PAGE.render(table=table(figures), rows=rows, classes=_classes(sets, figures))
    lines = []
    for c in chars:
        wide = np.zeros((strips[c][0].shape[0], 3 * _GAP_PX), np.uint8)
        lines.append(np.concatenate([strips[c][0], wide, strips[c][1], wide, strips[c][2]], 1))
    half = (len(lines) + 1) // 2  # two columns of characters
    lines += [np.zeros_like(lines[0])] * (2 * half - len(lines))
    middle = np.zeros((half * lines[0].shape[0], 8 * _GAP_PX), np.uint8)
    sheet = np.concatenate([np.concatenate(lines[:half]), middle, np.concatenate(lines[half:])], 1)
    write_whole(out / "contact_sheet.png", _png(sheet))
    write_text(out / "report.html", with_fonts(page))


def picked(sets: Evaluated) -> list[str]:
    """Up to SHOWN_CHARS characters of the GAN's, from the commonest to the rarest in the real
    training images, SHOWN_NEVER of them without one: first those of which there are named real
    images to look at."""
    real = set(sets.held_out.char.tolist())
    font = set(sets.font.char.tolist())
    never = sorted(sets.never, key=lambda c: (c not in real, c not in font, c))[:SHOWN_NEVER]
    seen = sorted(sets.seen, key=lambda c: (-sets.counts[c], c))
    count = min(len(seen), SHOWN_CHARS - len(never))
    return [seen[i] for i in np.linspace(0, len(seen) - 1, count).astype(int)] + never


def _sources(sets: Evaluated) -> tuple[Pictures, Pictures, Pictures]:
    return sets.held_out, sets.font, sets.gan


def _strip(pictures: Pictures, char: str) -> np.ndarray:
    """[H, SHOWN_IMAGES * W] uint8, images far apart in the store, so that fonts change."""
    rows = np.flatnonzero(pictures.char == char)
    if len(rows) > SHOWN_IMAGES:
        rows = rows[np.linspace(0, len(rows) - 1, SHOWN_IMAGES).astype(int)]
    size = pictures.images.shape[1]
    out = np.zeros((size + _GAP_PX, SHOWN_IMAGES * (size + _GAP_PX)), np.uint8)
    for i, row in enumerate(rows):
        at = i * (size + _GAP_PX)
        out[:size, at : at + size] = pictures.images[row]
    return out


def _classes(sets: Evaluated, figures: dict[str, Any]) -> list[dict[str, Any]]:
    read, near = figures["reading"]["classes"], figures["memorised"]["classes"]
    score = figures.get("score", {})
    rows = []
    for c in sorted(read["gan"], key=lambda c: (-sets.counts.get(c, 0), c)):
        values = [read[source].get(c) for source in ("real", "font", "gan")]
        values += [score.get(s, {}).get("classes", {}).get(c) for s in ("font", "gan")]
        values.append(near.get(c, {}).get("gan", {}).get("nearest"))
        rows.append({"char": c, "real": sets.counts.get(c, 0), "values": values})
    return rows


def _png(ink: np.ndarray) -> bytes:
    """[h, w] uint8, ink high -> a PNG of dark ink on white."""
    buffer = io.BytesIO()
    Image.fromarray(255 - ink).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _uri(ink: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(ink)).decode("ascii")
