"""The report: its numbers are the run's, its pictures the stores', and it needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from classifier import charts
from classifier.evaluate import evaluate
from classifier.finished import Finished
from classifier.rejection import other_score
from classifier.report import write_report
from classifier.report_runs import _half_intervals, classes, totals
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.quota import group_of, real_counts
from synth.store import Sample, Store, StoreWriter

ALPHABET = Alphabet.of("永國銀三日")
TRAIN = {"永": 60, "國": 20, "銀": 12, "三": 4, "日": 2, OTHER: 6}


def make_store(path: Path, source: str, counts: dict[str, int], split: str, seed: int) -> Store:
    rng = np.random.default_rng(seed)
    canvas = Canvas(32, 3)
    with StoreWriter(path, canvas, ALPHABET, {"command": "test", "seed": seed}) as writer:
        for label, count in counts.items():
            images = rng.integers(0, 256, (count, 32, 32)).astype(np.uint8)
            kind = "confusable" if label == OTHER and source != "real" else "character"
            samples = [
                Sample(label, "" if label == OTHER else label, source, split, kind, f"{label}{i}")
                for i in range(count)
            ]
            writer.append(images, samples)
    return Store.open(path)


def make_run(
    path: Path,
    stores: list[Store],
    test: Store,
    skill: float,  # 0: guesses, more: better
    seed: int,
    trained: Sequence[str] = (),  # other characters
    thresholds: dict[str, float] | None = None,  # by group
) -> Path:
    """What train() leaves behind, but for the model's weights."""
    path.mkdir()
    rng = np.random.default_rng(seed)
    rows = np.arange(len(test))
    logits = rng.standard_normal((len(test), len(ALPHABET) + 1))
    logits[rows, test.classes()] += skill
    odds = np.exp(logits)
    odds /= odds.sum(1, keepdims=True)
    counts = real_counts(stores[0])
    own = [(thresholds or {}).get(group_of(counts[c]), 0.6) for c in ALPHABET.chars]
    evaluation = evaluate(odds, test, rows, np.array(own), counts, trained)
    evaluation.write(path / "predictions_test.parquet")
    config = {"steps": 100, "batch_size": 8, "precision": "32-true", "lr": 0.003}
    arguments = {
        "real": str(stores[0].path),
        "synth": [str(s.path) for s in stores[1:]],
        "out": str(path),
        "test": str(test.path),
        "steps": 100,
        "lr": None,
        "seed": seed,
    }
    info = {
        "arguments": arguments,
        "config": config,
        "seed": seed,
        "sources": [{"store": str(s.path), "made": {}} for s in stores],
    }
    model = {"model": "compact", "alphabet": list(ALPHABET.chars), "digest": ALPHABET.digest}
    model |= {"threshold": 0.6, "info": info}
    figures = {
        "seconds": 61.0,
        "images_per_second": 1234,
        "threshold": 0.6,
        "thresholds": thresholds,
        "validation": {"known_right": 0.5, "other_found": 0.25},
        "test": evaluation.figures,
    }
    (path / "model.json").write_text(json.dumps(model), "utf-8")
    (path / "metrics.json").write_text(json.dumps(figures), "utf-8")
    (path / "mix.txt").write_text("source  share\nreal    <all>\n", "utf-8")
    steps = [{"step": s, "loss": 2 / s, "right_real": s / 100} for s in (25, 50, 75)]
    steps[-1]["val_known"] = 0.5
    (path / "metrics.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("runs")
    real = make_store(top / "real", "real", TRAIN, "train", 1)
    font = make_store(top / "font", "font", dict.fromkeys(ALPHABET.classes, 8), "train", 2)
    gan = make_store(top / "gan", "gan", dict.fromkeys(ALPHABET.classes, 8), "train", 3)
    test = make_store(top / "test", "real", dict.fromkeys(ALPHABET.classes, 30), "test", 4)
    return {
        "mix": make_run(top / "mix", [real, font, gan], test, 1.0, 1),
        "base": make_run(top / "base", [real], test, 0.3, 2),
        "top": top,
    }


class Page(HTMLParser):
    """Tags with their attributes, rows of tables by class or section, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: dict[str, list[str]] = {}  # tag -> the text of each of its elements
        self.source = path.read_text("utf-8")
        self._open: list[str] = []
        self._table = self._section = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in ("br", "img", "meta"):
            self._open.append(tag)
            self.words.setdefault(tag, []).append("")
        if tag == "section":
            self._section = values["id"] or ""
        if tag == "table":
            self._table = f"{self._section}.{values.get('class')}"
            self.tables.setdefault(self._table, [])
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.words[self._open[-1]][-1] += data
        if {"td", "th"} & set(self._open):
            self.tables[self._table][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if tag == "table":
            self._table = ""

    def ids(self) -> set[str]:
        return {a["id"] for _, a in self.tags if a.get("id")}

    def images(self) -> list[dict[str, str | None]]:
        return [a for tag, a in self.tags if tag == "img"]


def decoded(source: str | None) -> np.ndarray:
    head, data = (source or "").split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


@pytest.fixture(scope="module")
def page(runs: dict[str, Path]) -> Page:
    out = runs["top"] / "report.html"
    write_report(
        out,
        runs["mix"],
        {"real only": runs["base"]},
        title="A <title> & more",
        name="mixed",
        note="Simulated data.",
    )
    return Page(out)


def figures(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text("utf-8"))["test"]


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def test_the_title_and_the_note(page: Page) -> None:
    assert page.words["title"][0] == page.words["h1"][0] == "A <title> & more"
    assert "Simulated data." in page.words["strong"]


def test_every_image_decodes_and_says_what_it_is(page: Page) -> None:
    images = page.images()
    assert len(images) > 30
    for image in images:
        pixels = decoded(image["src"])
        assert pixels.shape[0] == 32
        assert pixels.shape[1] % 35 in (32,)  # tiles of 32 with gaps of 3
        assert image["alt"]


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value
    source = re.sub(r"/\*.*?\*/", "", page.source, flags=re.DOTALL)  # licences of the fonts
    assert not re.search(r"https?://|@import", source)
    assert set(re.findall(r"url\((.{11})", source)) == {'"data:font/'}


def test_the_labels_have_a_font_in_the_page(page: Page) -> None:
    found = re.findall(r'font/woff;base64,([^"]+)".*?unicode-range: ([^;]+);', page.source)
    assert len(found) == 1
    assert set(found[0][1].split(",")) == {f"U+{ord(c):X}" for c in ALPHABET.chars}
    with TTFont(io.BytesIO(base64.b64decode(found[0][0]))) as font:
        assert {chr(code) for code in font.getBestCmap()} == set(ALPHABET.chars)
    assert page.source.count('font: 15px/1.5 "Inkfill labels", system-ui') == 1


def test_every_link_inside_leads_somewhere(page: Page) -> None:
    links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert links <= page.ids()
    assert {"totals", "samples", "curves", "classes", "pairs", "errors", "repeat"} <= links


def test_totals_are_those_of_the_run(page: Page, runs: dict[str, Path]) -> None:
    mine, other = figures(runs["mix"]), figures(runs["base"])
    rows = {row[0]: row[1:] for row in page.tables["totals.totals"]}
    wanted = {f"accuracy, {g}": (v, other["groups"][g]) for g, v in mine["groups"].items()}
    wanted["macro F1"] = mine["macro_f1"], other["macro_f1"]
    wanted["AUROC of the other score"] = mine["other_auroc"], other["other_auroc"]
    wanted["known called other (less is better)"] = mine["false_other"], other["false_other"]
    assert {"accuracy, common", "accuracy, rare", "accuracy, few", "accuracy, other"} <= set(wanted)
    for name, (a, b) in wanted.items():
        assert rows[name][:2] == [percent(a), percent(b)], name
        assert float(rows[name][2].split()[0]) == pytest.approx(100 * (a - b), abs=0.051)


def test_classes_are_those_of_the_run(page: Page, runs: dict[str, Path]) -> None:
    mine, other = figures(runs["mix"])["classes"], figures(runs["base"])["classes"]
    rows = page.tables["classes.sorts"][1:]
    assert len(rows) == len(mine) == len(ALPHABET) + 1
    for row, a, b in zip(rows, mine, other, strict=True):
        assert row[:6] == [
            a["label"],
            a["group"],
            str(a["real"]),
            str(a["images"]),
            percent(a["accuracy"]),
            percent(b["accuracy"]),
        ]
        assert row[8] == percent(a["f1"])


def test_samples_stand_by_source_and_group(page: Page) -> None:
    rows = page.tables["samples.samples"][1:]
    groups = [row[1] for row in rows]
    assert groups == ["few", "few", "rare", "rare", "common", "as collected", "confusable"]
    shown = [i["alt"] for i in page.images() if ", " in (i["alt"] or "")]
    assert [a for a in shown if a.startswith("永")] == ["永, real", "永, font", "永, gan"]
    assert Counter(a.split(", ")[1] for a in shown) == {"real": 6, "font": 6, "gan": 6}


def test_confusions_are_counted_and_shown(page: Page, runs: dict[str, Path]) -> None:
    answers = Finished.open(runs["mix"], "x").answers("test")
    test = Store.open(runs["top"] / "test")
    names = ALPHABET.classes
    pairs = Counter(
        (names[t], names[a]) for t, a in zip(answers.target, answers.answer, strict=True) if t != a
    )
    rows = page.tables["pairs.pairs"][1:]
    assert all(pairs[r[0], r[1]] == int(r[2]) for r in rows)
    assert [int(r[2]) for r in rows] == sorted((int(r[2]) for r in rows), reverse=True)
    assert len(rows) == 20 < len(pairs)
    between_known = sum(OTHER not in r[:2] for r in rows)
    assert between_known >= 10 and int(rows[0][2]) == max(pairs.values())
    # the pictures are of just these images
    target, answer, count = rows[0][0], rows[0][1], int(rows[0][2])
    strip = decoded(
        next(i["src"] for i in page.images() if i["alt"] == f"{target} read as {answer}")
    )
    first = strip[:, :32]
    mine = [
        test.images[row]
        for row, t, a in zip(answers.row, answers.target, answers.answer, strict=True)
        if (names[t], names[a]) == (target, answer)
    ]
    assert len(mine) == count
    assert min(np.abs(first.astype(int) - (255 - m.astype(int))).max() for m in mine) < 16


def test_errors_are_the_surest_wrong_answers(page: Page, runs: dict[str, Path]) -> None:
    answers = Finished.open(runs["mix"], "x").answers("test")
    sure = np.sort(answers.sure(len(ALPHABET))[~answers.right])[::-1]
    shown = [int(n) for n in re.findall(r"sure (\d+) %", page.source)]
    assert shown == [round(100 * float(s)) for s in sure[:60]] or np.allclose(
        shown, 100 * sure[:60], atol=0.51
    )
    assert f"{len(sure)} of {len(answers.row)} test images were answered wrong" in page.source


def test_charts_are_whole_xml(page: Page) -> None:
    found = re.findall(r"<svg.*?</svg>", page.source, re.S)
    assert len(found) == 6  # groups, three curves, other score, reliability
    for svg in found:
        ElementTree.fromstring(svg)
    # a curve runs through every line of metrics.jsonl
    loss = ElementTree.fromstring(found[1])
    paths = [e.get("d") for e in loss.iter("path")]
    assert [p.count(" ") for p in paths] == [3, 3]


def test_the_command_can_be_given_again(
    page: Page, runs: dict[str, Path], load_script: Callable[[str], ModuleType]
) -> None:
    text = next(t for t in page.words["pre"] if t.startswith("python "))
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:2] == ["python", "scripts/train_classifier.py"]
    args = load_script("train_classifier").options().parse_args(words[2:])
    assert args.real == runs["top"] / "real"
    assert args.synth == [runs["top"] / "font", runs["top"] / "gan"]
    assert (args.steps, args.seed, args.lr) == (100, 1, None)
    assert ALPHABET.digest in page.source
    versions = {row[0] for row in page.tables["repeat.facts"]}
    assert {"python", "torch", "numpy", "batch_size"} <= versions


def test_what_is_lacking_is_left_out(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("model.json", "metrics.json"):
        text = (runs["mix"] / name).read_text("utf-8").replace("/gan", "/moved")
        (tmp_path / name).write_text(text, "utf-8")
    write_report(tmp_path / "report.html", tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.ids() == {"totals", "samples", "classes", "repeat"}
    assert "Not found any more" in page.source and "/moved" in page.source
    assert {a["alt"].split(", ")[1] for a in page.images()} == {"real", "font"}


def test_suspects_are_shown_the_least_probable_first(runs: dict[str, Path], tmp_path: Path) -> None:
    for file in runs["mix"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = {"row": [3, 7], "target": [0, 1], "likely": [2, 3], "probability": [0.04, 0.01]}
    pq.write_table(pa.table(table), tmp_path / "suspects.parquet")
    write_report(tmp_path / "report.html", tmp_path)
    page = Page(tmp_path / "report.html")
    names = ALPHABET.classes
    shown = [i for i in page.images() if (i["alt"] or "").startswith("given ")]
    assert [i["alt"] for i in shown] == [f"given {names[1]}", f"given {names[0]}"]
    image = Store.open(runs["top"] / "real").images[7].astype(int)
    assert np.abs(decoded(shown[0]["src"]).astype(int) - (255 - image)).max() < 16
    # what can be decided is what --corrections reads, about the image that is shown
    digests = Store.open(runs["top"] / "real").column("sha256")
    marked = [a["data-sha256"] for _, a in page.tags if a.get("data-sha256")]
    assert marked == [digests[7], digests[3]]
    choices = [a["value"] for tag, a in page.tags if tag == "option"][:5]
    assert choices == ["", names[3], names[1], OTHER, "remove"]
    assert "sha256,label" in page.source


def test_others_are_told_apart_by_what_they_show(runs: dict[str, Path], tmp_path: Path) -> None:
    """Others like those trained on, never seen ones, no characters; known ones by group."""
    rng = np.random.default_rng(3)

    def store(name: str, split: str, chars: list[tuple[str, str, str]]) -> Store:
        with StoreWriter(tmp_path / name, Canvas(32, 3), ALPHABET, {}) as writer:
            images = rng.integers(0, 256, (len(chars), 32, 32)).astype(np.uint8)
            samples = [
                Sample(la, c, "real", split, k, f"{i}") for i, (la, c, k) in enumerate(chars)
            ]
            writer.append(images, samples)
        return Store.open(tmp_path / name)

    train = store(
        "real", "train", [*((c, c, "character") for c in ALPHABET.chars), (OTHER, "月", "common")]
    )
    shown = [("永", "永", "character")] * 4 + [(OTHER, "月", "common")] * 3
    shown += [(OTHER, "火", "common")] * 5 + [(OTHER, "", "blank")] * 2 + [(OTHER, "", "character")]
    run = make_run(tmp_path / "run", [train], store("test", "test", shown), 1.0, 3, "月")
    write_report(tmp_path / "report.html", run)
    rows = {r[0]: r[1:] for r in Page(tmp_path / "report.html").tables["others.others"][1:]}
    answers = Finished.open(run, "x").answers("test")
    called = answers.answer == len(ALPHABET)
    wanted = {
        "other characters like those trained on": slice(4, 7),
        "other characters never trained on": slice(7, 12),
        "no characters": slice(12, 14),
        "other: common": slice(4, 12),
        "other: blank": slice(12, 14),
        "others of which nothing more is known": slice(14, 15),
        "few characters": slice(0, 4),
    }
    assert set(rows) == set(wanted)
    for label, part in wanted.items():
        assert rows[label] == [str(part.stop - part.start), percent(called[part].mean())]
    # of a run that did not write who is who, only what the store says
    figures = json.loads((run / "metrics.json").read_text("utf-8"))
    del figures["test"]["others"], figures["test"]["false_other_by_group"]
    (run / "metrics.json").write_text(json.dumps(figures), "utf-8")
    write_report(tmp_path / "report.html", run)
    rows = {r[0]: r[1:] for r in Page(tmp_path / "report.html").tables["others.others"][1:]}
    assert set(rows) == {"no characters", "other: common", "other: blank"}


def test_rates_are_those_of_the_thresholds_in_force(runs: dict[str, Path], tmp_path: Path) -> None:
    real, test = (Store.open(runs["top"] / name) for name in ("real", "test"))
    counts = real_counts(real)
    by_group = {group_of(n): 0.2 for c, n in counts.items() if c != OTHER}
    run = make_run(tmp_path / "run", [real], test, 1.0, 1, thresholds=by_group)
    write_report(tmp_path / "report.html", run)
    answers = Finished.open(run, "x").answers("test")
    known = len(ALPHABET)
    called, is_other = answers.answer == known, answers.target == known
    text = " ".join(Page(tmp_path / "report.html").source.split())
    wanted = f"{percent(called[~is_other].mean())} % of the known"
    assert f"{wanted}, {percent(called[is_other].mean())} % of the others" in text
    assert all(f"{group} 0.20" in text for group in by_group) and "is the 0.60 that is" in text
    # the one threshold would have told something else
    assert percent((answers.score[~is_other] > 0.6).mean()) not in wanted


def test_held_out_others_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    for file in runs["mix"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_report(tmp_path / "report.html", tmp_path)
    assert (
        "held-out.others" not in Page(tmp_path / "report.html").tables
    )  # of a run before there were any
    told = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    told["held_out_others"] = {
        "unseen": {"images": 1200, "called_other": 0.875},
        "mirrored": {"images": 8, "called_other": 0.25},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(told), "utf-8")
    write_report(tmp_path / "report.html", tmp_path)
    assert Page(tmp_path / "report.html").tables["held-out.others"][1:] == [
        ["other characters never trained on", "1,200", "87.5"],
        ["other: mirrored", "8", "25.0"],
    ]


def test_the_time_spent_is_told(runs: dict[str, Path], tmp_path: Path) -> None:
    for file in runs["mix"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    told = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    told |= {"spent": {"test images": 2.25, "training": 61.0}, "steps": 75}
    told["best"] = {"figure": "val_macro", "value": 0.5, "step": 50}
    (tmp_path / "metrics.json").write_text(json.dumps(told), "utf-8")
    write_report(tmp_path / "report.html", tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.tables["totals.facts spent"] == [["training", "61.0 s"], ["test images", "2.2 s"]]
    rows = dict(page.tables["totals.facts"])
    assert rows["Stopped"].startswith("after 75 steps")
    assert rows["Weights"] == "of step 50, val_macro 50.0 %"


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match=r"no finished run \(no metrics.json in it\)"):
        write_report(tmp_path / "report.html", tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_predictions_come_back_as_they_were_given(runs: dict[str, Path], tmp_path: Path) -> None:
    test = Store.open(runs["top"] / "test")
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(len(ALPHABET) + 3, 0.2), 50)
    rows = rng.permutation(len(test))[:50]
    evaluation = evaluate(p, test, rows, 0.5, TRAIN)
    evaluation.write(tmp_path / "predictions_test.parquet")
    assert evaluation.figures["store"] == str(test.path)
    run = Finished(tmp_path, "x", {"test": {}}, {}, [], "")
    answers = run.answers("test")
    assert (answers.row == rows).all() and answers.row.dtype == np.int64
    assert np.allclose(answers.score, other_score(p, len(ALPHABET)))
    ranks = np.argsort(-p[:, : len(ALPHABET)], 1)
    other = answers.answer == len(ALPHABET)
    assert other.any() and not other.all()
    assert (answers.second[other] == ranks[other, 0]).all()
    assert (answers.second[~other] == ranks[~other, 1]).all()
    assert (answers.answer[~other] == ranks[~other, 0]).all()


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([True, True, True, False, True, False, True])
    wanted = (4 + 1) / 7 * abs((4 * 0.95 + 1) / 5 - 4 / 5) + 2 / 7 * abs(0.55 - 0.5)
    assert charts.expected_calibration_error(confidence, right) == pytest.approx(wanted)


def test_the_interval_is_that_of_a_bootstrap(runs: dict[str, Path]) -> None:
    a, b = Finished.open(runs["mix"], "a"), Finished.open(runs["base"], "b")
    half = _half_intervals("test", a, b)
    change = a.answers("test").right.astype(float) - b.answers("test").right
    target = a.answers("test").target
    rng = np.random.default_rng(0)
    for group in ("rare", "few"):
        rows = [r["label"] for r in figures(runs["mix"])["classes"] if r["group"] == group]
        of = [change[target == ALPHABET.index()[label]] for label in rows]
        draws = [np.mean([rng.choice(c, len(c)).mean() for c in of]) for _ in range(2000)]
        assert half[group] == pytest.approx(1.96 * np.std(draws), rel=0.1)
    rare = next(r for r in a.figures["test"]["classes"] if r["group"] == "rare")
    rare["images"] = 4  # too few to tell
    assert set(_half_intervals("test", a, b)) == set(half) - {"rare"}


def test_no_difference_is_good_or_bad_within_its_interval_or_without_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    stores = [Store.open(runs["top"] / "real")]
    far = make_run(tmp_path / "far", stores, Store.open(runs["top"] / "test"), 5.0, 3)
    a, b = Finished.open(far, "a"), Finished.open(runs["base"], "b")
    near = Finished.open(runs["mix"], "near")

    def told(first: Finished, second: Finished) -> dict[str, dict]:
        rows = totals("test", [first, second])["rows"]
        return {row["label"]: row["differences"][0] for row in rows}

    forth, back = told(a, b), told(b, a)
    for found in (forth, back, told(near, b)):
        for label, d in found.items():
            beyond = d["half"] is not None and abs(d["change"]) > d["half"]
            wanted = "good" if d["change"] > 0 else "bad"
            assert d["verdict"] == (wanted if beyond else ""), label
    assert forth["accuracy, common"]["verdict"] == "good"
    assert back["accuracy, common"]["verdict"] == "bad"
    without = ("macro F1", "accuracy, all images", "AUROC of the other score")
    for label in (*without, "known called other (less is better)"):
        assert forth[label]["change"] and forth[label]["half"] is None

    change = a.answers("test").right.astype(float) - b.answers("test").right
    target = a.answers("test").target
    a.figures["test"]["classes"][0]["images"] = 4  # too few to tell
    rows = classes("test", [a, b])
    for row in rows:
        of = change[target == ALPHABET.index()[row["label"]]]
        beyond = abs(of.mean()) > 1.96 * of.std(ddof=1) / np.sqrt(len(of)) and row["images"] > 4
        assert row["verdicts"] == [("good" if of.mean() > 0 else "bad") if beyond else ""]
    assert {v for row in rows for v in row["verdicts"]} >= {"", "good"}
    c = Finished.open(runs["base"], "c")
    c.figures.pop("test")  # not measured there
    assert all(row["verdicts"] == [""] for row in classes("test", [a, c]))


def test_a_loss_below_nothing_stays_on_its_chart() -> None:
    """That of early-learning regularisation has a term without a lower end."""
    for y in ([0.5, -2.0], [-0.5, -2.0], [0.0, 0.0], [3.0, 1.0]):
        drawn = charts.lines([charts.Series("loss", 0, [25, 50], y)], "step", share=False)
        plot = ElementTree.fromstring(drawn)
        path = next(e.attrib["d"] for e in plot.iter("path"))
        heights = [float(pair.split()[1]) for pair in path[1:].split("L")]
        assert all(charts._TOP <= h <= charts._HEIGHT - charts._BOTTOM for h in heights)
        ticks = [e.text for e in plot.iter("text") if e.attrib["text-anchor"] == "end"]
        assert "0" in ticks and ("-2" in ticks) == (min(y) < 0)


@pytest.mark.parametrize("steps", [600, 3000, 20_000])
def test_the_last_tick_of_a_curve_is_not_cut(steps):
    drawn = charts.lines([charts.Series("loss", 0, [0, steps], [1, 2])], "step", share=False)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn)[1])
    ticks = re.findall(r'text-anchor="middle" x="([\d.]+)" y="[\d.]+">([\d,]+)<', drawn)
    assert ticks[-1][1] == f"{steps:,}"
    for x, text in ticks:  # a digit is .6 of the font's 11 px wide
        assert float(x) + 0.6 * 11 * len(text) / 2 <= width
