"""The report and the review page in a real browser: every label is drawn with the page's own fonts,
so with no font of the machine."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_classifier_report import ALPHABET, runs  # noqa: F401  a fixture
from test_classifier_serve_draw import BROWSER, DRIVER, _browser

from classifier.report import write_report, write_review
from classifier.suspects import Suspects
from synth.store import Store

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver here (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def browser():
    found = _browser()
    yield found
    found.quit()


def glyphs(browser, page: Path, selector: str) -> Counter[tuple[str, bool]]:
    """(text, drawn with a font of the page) -> how many elements."""
    browser.get(page.as_uri())
    ask = browser.execute_cdp_cmd
    ask("DOM.enable", {})
    ask("CSS.enable", {})
    root = ask("DOM.getDocument", {})["root"]["nodeId"]
    found: Counter[tuple[str, bool]] = Counter()
    for node in ask("DOM.querySelectorAll", {"nodeId": root, "selector": selector})["nodeIds"]:
        used = ask("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        children = ask("DOM.describeNode", {"nodeId": node, "depth": 1})["node"]["children"]
        assert [font["glyphCount"] for font in used] == [len(children[0]["nodeValue"])]
        found[children[0]["nodeValue"], used[0]["isCustomFont"]] += 1
    return found


def test_the_table_of_classes_sorts_by_what_is_clicked(browser, runs):  # noqa: F811
    write_report(runs["mix"] / "report.html", runs["mix"])
    browser.get((runs["mix"] / "report.html").as_uri())

    def column(name: str, click: bool = False) -> list[str]:
        return browser.execute_script(
            """
            const [name, click] = arguments, table = document.querySelector("table.sorts");
            const at = [...table.tHead.rows[0].cells].findIndex(h => h.textContent === name);
            if (click) table.tHead.rows[0].cells[at].click();
            return [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
            """,
            name,
            click,
        )

    before = column("accuracy")
    up = column("accuracy", click=True)
    assert up == sorted(before, key=float) != before
    assert column("accuracy", click=True) == sorted(before, key=float, reverse=True)
    group = column("group")
    assert column("group", click=True) == sorted(group) != group


def test_no_label_needs_a_font_of_the_machine(browser, runs, tmp_path):  # noqa: F811
    for file in runs["mix"].iterdir():
        shutil.copy(file, tmp_path)
    table = {"row": [3, 7], "target": [0, 1], "likely": [2, 3], "probability": [0.04, 0.01]}
    pq.write_table(pa.table(table), tmp_path / "suspects.parquet")
    write_report(tmp_path / "report.html", tmp_path)
    found = glyphs(browser, tmp_path / "report.html", "td .char, .suspect .char")
    own = {text for text, of_page in found if of_page}
    assert own == set(ALPHABET.chars)
    assert {text for text, of_page in found if not of_page} == {"other"}
    assert sum(found.values()) > 40

    suspects = Suspects(
        np.array([3, 7]), np.array([0, 1]), np.array([2, 3]), np.array([0.01, 0.04])
    )
    (review,) = write_review(tmp_path / "review.html", suspects, Store.open(runs["top"] / "real"))
    found = glyphs(browser, review, ".suspect .char")
    assert set(found) == {(c, True) for c in ALPHABET.chars[:4]}
