"""scripts/score.py: the figures of a case counted by hand, and tables that cannot be scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from classifier.card import Prediction
from classifier.scoring import read_predictions, read_truth, score
from classifier.tables import open_table
from synth.command import run

TRUTH = """path,char,label,group
test/A/1.png,A,A,common
test/A/2.png,A,A,common
test/A/3.png,A,A,common
test/B/4.png,B,B,few
test/other/5.png,X,other,unseen
test/other/6.png,X,other,unseen
test/other/7.png,Y,other,unseen
train/A/8.png,A,A,common
"""
SAID = """path,label,confidence,other
in/test/A/1.png,A,.9,.1
in/test/A/2.png,A,.9,.2
in/test/A/3.png,other,.9,.6
in/test/B/4.png,B,.9,.3
in/test/other/5.png,other,.9,.9
in/test/other/6.png,A,.9,.3
in/test/other/7.png,other,.9,.5
"""
FIGURES = {
    "images": 7,
    "accuracy": 5 / 7,
    # A: 2 right of 3, called 3 times; B: right; other: 2 right of 3, called 3 times
    "macro_f1": (2 / 3 + 1 + 2 / 3) / 3,
    # .9 is above all of .1 .2 .6 .3; .3 above two and level with one; .5 above three
    "other_auroc": (4 + 2.5 + 3) / 12,
    "false_other": 1 / 4,
}
GROUPS = {
    "common": 2 / 3,
    "few": 1.0,
    "unseen": (1 / 2 + 1) / 2,  # X and Y: not 2 of 3 images
}

Call = Callable[..., int]


@pytest.fixture
def call(load_script: Callable[[str], ModuleType], tmp_path: Path) -> Call:
    """call("--json", said=...) scores the tables above, or those given."""
    script = load_script("score")

    def call(*more: str, truth: str = TRUTH, said: str = SAID) -> int:
        (tmp_path / "truth.csv").write_text(truth, "utf-8")
        (tmp_path / "said.csv").write_text(said, "utf-8")
        tables = ["--truth", f"{tmp_path}/truth.csv", "--predictions", f"{tmp_path}/said.csv"]
        return run(script.options(), script.main, [*tables, "--under", "test", *more])

    return call


def told(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_the_figures_are_those_counted_by_hand(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--json") == 0
    found = told(capsys)
    assert found.pop("groups") == pytest.approx(GROUPS)
    assert found == pytest.approx(FIGURES)
    assert call() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        ["common", "0.6667"],
        ["few", "1.0000"],
        ["unseen", "0.7500"],
        ["images", "7"],
    ]
    assert ["macro_f1", "0.7778"] in lines and ["other_auroc", "0.7917"] in lines


def test_the_order_of_the_rows_does_not_count(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = SAID.splitlines()
    assert call("--json", said="\n".join([head, *reversed(rows)])) == 0
    assert told(capsys) == pytest.approx(FIGURES | {"groups": pytest.approx(GROUPS)})


def test_what_the_alphabet_lacks_is_other(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alphabet = tmp_path / "alphabet.txt"
    alphabet.write_text("A\nB\nC\n", "utf-8")  # C has no image: it has no F1
    assert call("--json", "--alphabet", str(alphabet)) == 0
    assert told(capsys)["macro_f1"] == pytest.approx(FIGURES["macro_f1"])
    truth = TRUTH.replace("Y,other", "Y,Y")
    assert call("--json", truth=truth) == 0
    assert told(capsys)["false_other"] == 2 / 5  # Y is known
    assert call("--json", "--alphabet", str(alphabet), truth=truth) == 0
    assert told(capsys)["false_other"] == 1 / 4
    alphabet.write_text("A\nC\n", "utf-8")
    assert call("--alphabet", str(alphabet)) == 2
    assert "answered 'B', which is not in the alphabet" in capsys.readouterr().err


def test_without_groups_characters_or_others(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = "\ufeffpath,label\ntest/A/1.png,A\ntest/B/4.png,B\n"
    said = "path,label,other\ntest/A/1.png,A,0\ntest/B/4.png,A,1\n"
    assert call("--json", truth=truth, said=said) == 0
    assert told(capsys) == {
        "images": 2,
        "accuracy": 0.5,
        "macro_f1": pytest.approx((2 / 3 + 0) / 2),
        "other_auroc": None,
        "false_other": 0.0,
        "groups": {},
    }
    assert call(truth=truth, said=said) == 0
    assert "other_auroc      -" in capsys.readouterr().out
    # an image of "other" whose character nobody knows: all of them are one
    truth = TRUTH.replace("char", "shown")
    assert call("--json", truth=truth) == 0
    assert told(capsys)["groups"]["unseen"] == pytest.approx(2 / 3)


def test_a_label_in_another_normal_form_is_the_same(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = "path,label\ntest/1.png,\u00e9\ntest/2.png,other\n"
    said = "path,label,other\ntest/1.png,e\u0301,0\ntest/2.png,other,1\n"
    assert call("--json", truth=truth, said=said) == 0
    assert told(capsys)["macro_f1"] == 1.0


def test_the_table_that_predict_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text(TRUTH, "utf-8")
    truth = read_truth(tmp_path / "truth.csv")
    table = open_table(tmp_path / "said.csv", ".csv", 2)
    answers = [Prediction(t.label, 0.5, 0.25, (("A", 0.5), ("B", 0.1))) for t in truth.values()]
    table.write([f"some/where/{path}" for path in truth], answers)
    table.close()
    found = score(truth, read_predictions(tmp_path / "said.csv"))
    assert found["macro_f1"] == found["accuracy"] == 1.0 and found["other_auroc"] == 0.5


ROW = "in/test/A/2.png,A,.9,.2\n"


@pytest.mark.parametrize(
    ("truth", "said", "says"),
    [
        (TRUTH, SAID.replace(ROW, ""), "1 of the 7 images of the truth are not predicted, the"),
        (TRUTH, SAID + ROW, "line 9: 'in/test/A/2.png' stands there twice"),
        (TRUTH, SAID + "test/A/2.png,A,.9,.2\n", "predicted twice"),
        (TRUTH, SAID + "in/test/A/9.png,A,.9,.2\n", "in/test/A/9.png: predicted, but no image"),
        (TRUTH, SAID + "in/train/A/8.png,A,.9,.2\n", "predicted, but no image"),  # not under test
        (TRUTH, SAID.replace(".3\n", "nan\n"), "line 5: other is 'nan', wanted a number"),
        (TRUTH, SAID.replace(".3\n", "high\n"), "line 5: other is 'high', wanted a number"),
        (TRUTH, SAID.replace("4.png,B", "4.png,BB"), "line 5: label 'BB' is not one character"),
        (TRUTH, SAID.replace("4.png,B", "4.png,"), "line 5: path, label, other must all be there"),
        (TRUTH, SAID.replace("label", "name"), "said.csv: needs the column label"),
        (TRUTH + "test/A/1.png,A,A,few\n", SAID, "line 10: 'test/A/1.png' stands there twice"),
        (TRUTH.replace("test/", "rest/"), SAID, "truth.csv: no image in it under test/"),
        (
            "path,label\ntest/1.png,other\n",
            "path,label,other\ntest/1.png,other,1\n",
            "no known character in the truth nor among the answers",
        ),
    ],
)
def test_tables_that_cannot_be_scored_are_refused_in_one_line(
    call: Call, capsys: pytest.CaptureFixture[str], truth: str, said: str, says: str
) -> None:
    assert call(truth=truth, said=said) == 2
    out, error = capsys.readouterr()
    assert says in error and error.count("\n") == 1 and not out


def test_a_table_that_is_not_there_or_no_text_is_one_line(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--predictions", str(tmp_path / "gone.csv")) == 2
    assert "gone.csv: no such file" in capsys.readouterr().err
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff")
    assert call("--predictions", str(tmp_path / "image.csv")) == 2
    assert "image.csv: no CSV file in UTF-8" in capsys.readouterr().err
