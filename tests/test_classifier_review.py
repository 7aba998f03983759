"""Suspected labels: folds that are fair, a list that finds planted errors and spares the rare."""

import importlib.util
import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_classifier_report import Page
from test_classifier_train import ALPHABET, _config, _picture, _store

from classifier.review import (
    LEAST_KEPT,
    Opinions,
    folds_of,
    measure,
    out_of_fold,
    review,
    spared,
    true_classes,
    undecided,
)
from classifier.suspects import Suspects, fold
from synth.canvas import Canvas
from synth.command import run
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

pytestmark = pytest.mark.usefixtures("alike_images")
needs_cleanlab = pytest.mark.skipif(
    importlib.util.find_spec("cleanlab") is None, reason="no cleanlab here"
)


def opinions(seed: int = 0, sure: float = 0.8) -> tuple[Opinions, np.ndarray]:
    """Three classes of 60 images and one of 6; a tenth of the labels is wrong, the readers are
    sure of the true class by about `sure`. Returns the true classes too."""
    rng = np.random.default_rng(seed)
    true = np.repeat([0, 1, 2, 3], [60, 60, 60, 6])
    wrong = rng.random(len(true)) < 0.1
    given = np.where(wrong, (true + rng.integers(1, 4, len(true))) % 4, true)
    p = rng.dirichlet([1, 1, 1, 1], len(true)) * (1 - sure)
    p[np.arange(len(true)), true] += sure
    return Opinions(np.arange(len(true)) * 2, given, p.astype(np.float32)), true


def test_folds_share_every_class_evenly():
    given = np.repeat([0, 1, 2], [100, 7, 2])
    digest = np.array([f"{i:03d}" for i in range(109)], object)
    fold_of = folds_of(given, digest, 3, seed=1)
    for label, count in ((0, 100), (1, 7), (2, 2)):
        sizes = np.bincount(fold_of[given == label], minlength=3)
        assert sizes.sum() == count and sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold_of, folds_of(given, digest, 3, seed=1))
    assert not np.array_equal(fold_of, folds_of(given, digest, 3, seed=2))


def test_equal_images_share_a_fold_under_whichever_labels_they_are_filed():
    """A network that was trained on one of them would say of the other what it was told."""
    given = np.repeat([0, 1, 2], [30, 30, 30])
    digest = np.array([f"{i % 35:02d}" for i in range(90)], object)
    fold_of = folds_of(given, digest, 3, seed=1)
    for one in set(digest):
        assert len(set(fold_of[digest == one].tolist())) == 1
    assert np.bincount(fold_of, minlength=3).min() > 20


@needs_cleanlab
def test_planted_errors_are_found():
    told, true = opinions()
    found = review(told)
    wrong = told.rows[told.given != true]
    assert np.isin(found.row, wrong).mean() > 0.9
    assert np.isin(wrong, found.row).mean() > 0.7
    index = found.row // 2
    right = np.isin(found.row, wrong)
    assert (found.likely[right] == true[index[right]]).all()
    assert (found.target == told.given[index]).all() and (np.diff(found.probability) >= 0).all()


@needs_cleanlab
def test_a_rare_class_is_never_emptied():
    """Readers that never read the rare class would have all of its labels called wrong."""
    told, true = opinions()
    p = told.probability.copy()
    p[true == 3] = [0.9, 0.05, 0.05, 0.0]
    p[told.given == 3, 3] = np.linspace(0, 1e-3, (told.given == 3).sum())
    found = review(Opinions(told.rows, told.given, p / p.sum(1, keepdims=True)))
    for label in range(4):
        left = told.rows[(told.given == label) & ~np.isin(told.rows, found.row)]
        assert len(left) >= LEAST_KEPT


def test_what_is_spared_is_what_is_most_believed():
    given = np.array([0] * 9 + [1] * 2 + [2] * 4)
    wrong = np.array([True] * 9 + [True] * 2 + [True, False, False, False])
    belief = np.arange(15) / 15
    left = ~spared(wrong, given, belief)
    assert left.tolist() == [False] * 6 + [True] * 3 + [True] * 2 + [False, True, True, True]


def test_suspects_come_back_as_written_and_likely_is_never_the_given(tmp_path):
    p = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.3, 0.5]], np.float32)
    found = Suspects.of(np.array([5, 6, 7]), np.array([0, 0, 1]), p)
    assert found.row.tolist() == [6, 7, 5] and found.likely.tolist() == [2, 2, 1]
    found.write(tmp_path)
    again = Suspects.read(tmp_path)
    for name in Suspects.__dataclass_fields__:
        assert np.array_equal(getattr(found, name), getattr(again, name))
    assert Suspects.read(tmp_path / "nothing") is None
    assert np.allclose(fold(np.array([[0.1, 0.2, 0.3, 0.4]]), 2), [[0.1, 0.2, 0.7]])
    none = Suspects.of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    assert len(none.row) == 0


@pytest.fixture
def noisy(tmp_path):
    """26 images of each character as it is and 4 filed under it that show others, and the truth."""
    rng = np.random.default_rng(9)
    shown = "A" * 26 + "BBCC" + "B" * 26 + "AACC" + "C" * 26 + "AABB"
    given = "A" * 30 + "B" * 30 + "C" * 30
    with StoreWriter(tmp_path / "noisy", Canvas(), ALPHABET, {}) as writer:
        samples = [Sample(g, g, "real", origin=f"{g}/{i}.png") for i, g in enumerate(given)]
        writer.append(np.stack([_picture(c, rng) for c in shown]), samples)
    lines = [f"train/{g}/{i}.png,{s}" for i, (s, g) in enumerate(zip(shown, given, strict=True))]
    (tmp_path / "truth.csv").write_text("path,label\n" + "\n".join(lines) + "\n", "utf-8")
    _store(tmp_path / "font", "font", "ABCXYZ", 12)
    return tmp_path


def test_a_list_is_measured_against_the_truth(noisy):
    real = Store.open(noisy / "noisy")
    p = np.full((90, 4), 0.1, np.float32)
    told = Opinions(np.arange(90), real.classes(), p)
    # 6 of the 12 wrong ones, with 2 likely labels that are true, and 2 that are right
    rows = np.array([26, 27, 28, 29, 56, 57, 0, 1])
    target = real.classes()[rows]
    likely = np.array([1, 1, 1, 1, 2, 2, 1, 1])
    found = Suspects(rows, target, likely, np.zeros(8, np.float32))
    figures = measure(found, told, real, true_classes(noisy / "truth.csv", real))
    assert figures["all"] == {
        "images": 90,
        "wrong": 12,
        "suspected": 8,
        "precision": 6 / 8,
        "recall": 6 / 12,
        "likely_right": 2 / 6,
    }
    assert set(figures) == {"all", "rare"}
    (noisy / "half.csv").write_text("path,label\ntrain/A/0.png,A\n", "utf-8")
    with pytest.raises(InputError, match=r"nothing about 89 images, as 1\.png"):
        true_classes(noisy / "half.csv", real)
    (noisy / "twice.csv").write_text("path,label\na/0.png,A\nb/0.png,B\n", "utf-8")
    with pytest.raises(InputError, match=r"two files called 0\.png"):
        true_classes(noisy / "twice.csv", real)
    (noisy / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match=r"image\.csv: no CSV file in UTF-8"):
        true_classes(noisy / "image.csv", real)


def test_a_character_outside_the_alphabet_is_rightly_called_other(tmp_path):
    with StoreWriter(tmp_path / "real", Canvas(), ALPHABET, {}) as writer:
        given = ["A", "other", "other", "A"]
        samples = [Sample(g, "", "real", origin=f"{i}.png") for i, g in enumerate(given)]
        writer.append(np.zeros((4, 64, 64), np.uint8), samples)
    real, truth = Store.open(tmp_path / "real"), tmp_path / "truth.csv"
    # as a spreadsheet saves it
    truth.write_text("path,label\n0.png,A\n1.png,Q\n2.png,B\n3.png,Q\n", "utf-8-sig")
    true = true_classes(truth, real)
    assert true.tolist() == [0, 3, 1, 3]
    p = np.full((4, 4), 0.25, np.float32)
    found = Suspects(np.array([3]), np.array([0]), np.array([3]), np.zeros(1, np.float32))
    told = measure(found, Opinions(np.arange(4), real.classes(), p), real, true)["all"]
    assert (told["wrong"], told["recall"], told["likely_right"]) == (2, 1 / 2, 1.0)
    truth.write_text("path,label\n0.png,A\n1.png,\n2.png,B\n3.png\n", "utf-8")
    with pytest.raises(InputError, match=r"nothing about 2 images, as 1\.png"):
        true_classes(truth, real)


def suspects_of(real: Store) -> Suspects:
    """Every image of the store, likely the next class."""
    given = real.classes()
    return Suspects(np.arange(len(real)), given, (given + 1) % 4, np.linspace(0, 1, len(real)))


@pytest.mark.parametrize("how", ["remove", "likely"])
def test_the_list_as_corrections_that_nobody_made(tmp_path, how):
    from classifier.corrections import Corrections

    real = _store(tmp_path / "real", "real", "ABC", 10, "train")
    found = suspects_of(real)
    rows = np.array([3, 12, 25])
    some = Suspects(rows, found.target[rows], found.likely[rows], found.probability[rows])
    path = tmp_path / "c.csv"
    path.write_text(undecided(some, real, how), "utf-8")
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "sha256,label,decided_by,given"
    assert all("nobody" in line for line in lines[1:])
    read = Corrections.read(path, real)
    assert read.rows.tolist() == rows.tolist()
    assert read.classes.tolist() == ([-1] * 3 if how == "remove" else [1, 2, 3])
    assert not len(read.trusted)  # nobody looked
    # a person who confirms one of them, in a file joined before or after it, is believed
    person = f"sha256,label\n{real.column('sha256')[3]},{'remove' if how == 'remove' else 'B'}\n"
    for joined in (person + "\n".join(lines), "\n".join(lines) + "\n" + person):
        path.write_text(joined, "utf-8")
        read = Corrections.read(path, real)
        assert read.rows.tolist() == rows.tolist()
        assert read.trusted.tolist() == ([] if how == "remove" else [3])
    # one image twice, with two likely labels: they share the decision on the less believed one
    twice = Suspects(np.array([3, 3]), np.array([0, 0]), np.array([1, 2]), np.zeros(2))
    path.write_text(undecided(twice, real, "likely"), "utf-8")
    assert Corrections.read(path, real).classes.tolist() == [1]


def test_an_image_filed_under_two_labels_loses_the_doubted_one_alone(tmp_path):
    from classifier.corrections import Corrections

    rng = np.random.default_rng(1)
    one, two = (_picture(c, rng) for c in "AB")
    with StoreWriter(tmp_path / "real", Canvas(), ALPHABET, {}) as writer:
        samples = [Sample(g, g, "real", origin=f"{i}.png") for i, g in enumerate("ABBC")]
        writer.append(np.stack([one, one, two, one]), samples)
    real, path = Store.open(tmp_path / "real"), tmp_path / "c.csv"
    digest = real.column("sha256")[0]

    def found(*lines: str) -> dict[int, int]:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        read = Corrections.read(path, real)
        return dict(zip(read.rows.tolist(), read.classes.tolist(), strict=True))

    def listed(how: str, rows: list[int], likely: list[int]) -> list[str]:
        given = real.classes()[rows]
        of = Suspects(np.array(rows), given, np.array(likely), np.zeros(len(rows)))
        return undecided(of, real, how).splitlines()

    # A shows it, and nothing doubts that
    assert found(*listed("remove", [1], [0])) == {1: -1}
    assert found(*listed("remove", [1, 3], [0, 0])) == {1: -1, 3: -1}
    assert found(*listed("likely", [1], [2])) == {1: 2}
    # of two suspects that are equal the first, less believed one counts
    assert found(*listed("likely", [3, 1], [0, 2])) == {3: 0, 1: 0}
    # files without the column, a person's or of an earlier version, are about the image
    assert found("sha256,label", f"{digest},remove") == {0: -1, 1: -1, 3: -1}
    earlier = ("sha256,label,decided_by", f"{digest},remove,nobody: the list itself")
    assert found(*earlier) == {0: -1, 1: -1, 3: -1}
    # joined with such a one, each under its own head; or without it, in its columns
    head, *rows = listed("remove", [1], [0])
    other = ("label,sha256,note", f"B,{real.column('sha256')[2]},x")
    person = ("sha256,label", f"{real.column('sha256')[2]},B")
    for first in (other, person):
        assert found(*first, head, *rows) == {1: -1, 2: 1}
        assert found(head, *rows, *first) == {1: -1, 2: 1}
    assert found(*person, *rows) == {1: -1, 2: 1}
    assert not Corrections.read(path, real).looked[0]
    assert found(earlier[0], *rows) == {1: -1}
    with pytest.raises(InputError, match=rf"line 2: image {digest[:16]} is not filed under 'D'"):
        found(head, f"{digest},remove,,D")
    with pytest.raises(InputError, match=r"line 3: .* decided otherwise before"):
        found(head, *rows, f"{digest},A,,")


class Trained:
    """Stands in for training and reading: which rows and images a fold is trained on, and judges.
    Its answer to an image tells which image that was."""

    def __init__(self, monkeypatch) -> None:
        self.rows: dict[str, np.ndarray] = {}  # folder -> rows trained on
        self.judged: dict[str, np.ndarray] = {}  # folder -> images
        monkeypatch.setattr("classifier.review.fit", self.fit)
        monkeypatch.setattr("classifier.review.Model", self.model)

    def fit(self, setup, folder, config, seed):
        (pool,) = setup.mix.pools
        assert folder.name not in self.rows
        self.rows[folder.name] = pool.rows
        self.name = folder.name
        average = SimpleNamespace(module=torch.nn.Identity())
        return SimpleNamespace(module=SimpleNamespace(average=average))

    def model(self, network, card):
        def probabilities(images):
            self.judged[self.name] = images
            return np.stack([answer_to(image) for image in images])

        return SimpleNamespace(probabilities=probabilities)


def answer_to(image: np.ndarray) -> np.ndarray:
    """[4] float32, another one for each image."""
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    return rng.dirichlet(np.ones(4)).astype(np.float32)


def test_no_network_judges_an_image_that_it_was_trained_on(tmp_path, monkeypatch):
    """Under no label: ten of forty images are there twice and five three times, each time under
    another one."""
    rng = np.random.default_rng(3)
    pictures = rng.integers(1, 256, (42, 64, 64)).astype(np.uint8)
    shown = np.concatenate([np.arange(40), np.arange(10), np.arange(5), [40, 41]])
    with StoreWriter(tmp_path / "real", Canvas(), ALPHABET, {}) as writer:
        labels = ["ABC"[i % 3] for i in range(len(shown))]
        splits = ["val" if of >= 40 else "train" for of in shown]
        pairs = zip(labels, splits, strict=True)
        writer.append(pictures[shown], [Sample(g, g, "real", split) for g, split in pairs])
    real, out = Store.open(tmp_path / "real"), tmp_path / "out"
    train = real.rows("train")
    first = Trained(monkeypatch)
    told = out_of_fold(real, [], out, _config(), 1, 3)
    assert set(first.rows) == {"fold-0", "fold-1", "fold-2"}
    for name, rows in first.rows.items():
        own = {image.tobytes() for image in real.take(rows)}
        judged = {image.tobytes() for image in first.judged[name]}
        assert judged and not judged & own
        # it is trained on all others, and on no validation image
        assert set(rows) <= set(train) and len(rows) + len(first.judged[name]) == len(train)
    assert told.rows.tolist() == train.tolist()
    assert told.given.tolist() == real.classes()[train].tolist()
    for row, p in zip(told.rows, told.probability, strict=True):
        assert np.array_equal(p, answer_to(real.images[row]))

    # a fold that is done is not trained again, and one that is not gives what it gave
    (out / "fold-1" / "probability.npy").unlink()
    second = Trained(monkeypatch)
    again = out_of_fold(real, [], out, _config(), 1, 3)
    assert set(second.rows) == {"fold-1"}
    assert np.array_equal(second.rows["fold-1"], first.rows["fold-1"])
    assert np.array_equal(again.probability, told.probability)


def test_a_long_list_is_several_pages_whose_decisions_are_joined(tmp_path, monkeypatch):
    from classifier import report
    from classifier.corrections import Corrections

    real = _store(tmp_path / "real", "real", "ABC", 10, "train")
    monkeypatch.setattr(report, "MAX_SUSPECTS", 12)
    pages = report.write_review(tmp_path / "review.html", suspects_of(real), real)
    assert [p.name for p in pages] == ["review.html", "review-2.html", "review-3.html"]
    shown = [Page(path) for path in pages]
    marked = [[a["data-sha256"] for _, a in page.tags if a.get("data-sha256")] for page in shown]
    assert [len(m) for m in marked] == [12, 12, 6]
    assert [digest for page in marked for digest in page] == real.column("sha256").tolist()
    assert ("a", {"href": "review-3.html"}) in shown[0].tags
    assert "page 2 of 3" in shown[1].source and "corrections-2.csv" in shown[1].source
    joined = "".join(f"sha256,label\n{page[0]},remove\n" for page in marked)
    (tmp_path / "c.csv").write_text(joined, "utf-8")
    assert Corrections.read(tmp_path / "c.csv", real).rows.tolist() == [0, 12, 24]
    # each with a byte-order mark, as a spreadsheet saves it
    marked_files = [f"\ufeffsha256,label\n{page[0]},remove\n" for page in marked]
    (tmp_path / "c.csv").write_text("".join(marked_files), "utf-8")
    assert Corrections.read(tmp_path / "c.csv", real).rows.tolist() == [0, 12, 24]
    (one,) = report.write_review(tmp_path / "one.html", suspects_of(real).part(0, 12), real)
    assert "page 1" not in Page(one).source and 'data-file="corrections.csv"' in Page(one).source
    assert [p.name for p in tmp_path.glob("one*")] == ["one.html"]


def test_the_command_writes_the_list_of_a_finished_review(noisy, load_script, capsys, monkeypatch):
    """Training, and what cleanlab says, are stood in for."""
    script = load_script("review_labels")
    real = Store.open(noisy / "noisy")
    trained = []
    monkeypatch.setattr("classifier.review.find_spec", lambda name: True)
    monkeypatch.setattr(
        "classifier.review.out_of_fold", lambda *a: trained.append(a) or opinions()[0]
    )
    monkeypatch.setattr("classifier.review.review", lambda told: suspects_of(real).part(0, 5))
    words = f"--real {noisy}/noisy --out {noisy}/review --preset demo".split()
    asked = ["--write-corrections", "likely", f"{noisy}/c.csv"]
    assert run(script.options(), script.main, [*words, *asked]) == 0
    assert "no person looked at them" in capsys.readouterr().out
    first = (noisy / "c.csv").read_text("utf-8")
    assert first.count("\n") == 6 and "B,nobody" in first
    # what is there is not written over
    assert run(script.options(), script.main, [*words, *asked]) == 2
    again = ["--write-corrections", "remove", f"{noisy}/d.csv"]
    assert run(script.options(), script.main, [*words, *again]) == 0
    assert (noisy / "d.csv").read_text("utf-8").count("remove") == 5 and len(trained) == 1
    (noisy / "review" / "suspects.parquet").unlink()
    lost = ["--write-corrections", "remove", f"{noisy}/e.csv"]
    assert run(script.options(), script.main, [*words, *lost]) == 2 and len(trained) == 1
    assert "suspects.parquet) is gone" in capsys.readouterr().err
    assert run(script.options(), script.main, [*words, "--write-corrections", "x", "y"]) == 2
    assert "there are remove, likely" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("--truth {0}/none.csv", "none.csv: no such file"),
        ("--truth {0}/font/store.json", "needs the columns path and label"),
        ("--steps 0", "--steps 0: not between 1 and inf"),
    ],
)
def test_what_a_review_could_not_end_with_is_told_before_it_trains(
    noisy, load_script, capsys, monkeypatch, more, says
):
    script = load_script("review_labels")
    monkeypatch.setattr("classifier.review.find_spec", lambda name: True)
    monkeypatch.setattr("classifier.review.out_of_fold", None)
    words = f"--real {noisy}/noisy --out {noisy}/review --preset demo {more.format(noisy)}"
    assert run(script.options(), script.main, words.split()) == 2
    assert says in capsys.readouterr().err and not (noisy / "review").exists()


@needs_cleanlab
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*workers.*")
def test_the_command_finds_wrong_labels_and_takes_decisions_back(noisy, load_script, capsys):
    script = load_script("review_labels")
    words = f"--real {noisy}/noisy --synth {noisy}/font --out {noisy}/review --folds 2 --steps 150"
    words += f" --preset demo --truth {noisy}/truth.csv"
    assert run(script.options(), script.main, words.split()) == 0
    told = json.loads((noisy / "review" / "review.json").read_text("utf-8"))["truth"]["all"]
    assert told["precision"] > 0.7 and told["recall"] > 0.5
    page = Page(noisy / "review" / "review.html")
    marked = [a["data-sha256"] for _, a in page.tags if a.get("data-sha256")]
    assert len(marked) == told["suspected"]
    assert run(script.options(), script.main, words.split()) == 2
    assert "finished review" in capsys.readouterr().err
    from classifier.corrections import Corrections

    (noisy / "c.csv").write_text(f"sha256,label\n{marked[0]},remove\n", "utf-8")
    assert Corrections.read(noisy / "c.csv", Store.open(noisy / "noisy")).removed == 1
