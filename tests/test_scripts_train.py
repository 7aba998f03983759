"""The training and prediction commands: help at once, and wrong inputs end in one clear line."""

import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.store import Sample, StoreWriter

SCRIPTS = ("train_gan", "train_classifier", "review_labels", "predict")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_teaches_and_is_quick(name):
    started = time.process_time(), time.monotonic()
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{name}.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "example: python scripts/" in done.stdout.replace("\n", " ")
    assert "--out" in done.stdout and "default" in done.stdout
    # heavy imports alone take 5 s and more; a busy machine gets the benefit of the doubt
    assert time.monotonic() - started[1] < 4


@pytest.fixture
def two_alphabets(tmp_path):
    for name, chars in (("one", "AB"), ("two", "AC")):
        with StoreWriter(tmp_path / name, Canvas(), Alphabet.of(chars), {}) as writer:
            writer.append(np.full((2, 64, 64), 9, np.uint8), [Sample(c, c, "real") for c in chars])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("train_gan", "--out {0}/run", "give --real STORE"),
        ("train_gan", "--real {0}/none --out {0}/run", "no store"),
        ("train_gan", "--generate-only --out {0}/run", "needs --run"),
        ("train_gan", "--generate-only --run {0}/none --out {0}/run", "no finished GAN run"),
        ("train_gan", "--generate-only --run {0}/none --out {0}/one", "is there already"),
        ("train_gan", "--real {0}/one --out {0}/run --steps many", "steps"),
        ("train_classifier", "--out {0}/run", "real"),
        ("train_classifier", "--real {0}/none --out {0}/run", "no store"),
        (
            "train_classifier",
            "--real {0}/one --synth {0}/two --out {0}/run",
            "only here: C, only there: B",
        ),
        ("train_classifier", "--real {0}/one --out {0}/run --model vgg", "efficientnet-b0"),
        ("train_classifier", "--real {0}/one --out {0}/run --augment nothing", "module:function"),
        ("train_classifier", "--real {0}/one --out {0}/run --schedule x", "one-cycle"),
        ("train_classifier", "--real {0}/one --out {0}/run --pretrained {0}/no.pth", "no file"),
        ("train_classifier", "--real {0}/one --out {0}/run --monitor val_known", "validation"),
        ("train_classifier", "--real {0}/one --out {0}/run --corrections {0}/no", "no such file"),
        ("train_classifier", "--real {0}/one --out {0}/run --profile x", "simple"),
        ("review_labels", "--real {0}/none --out {0}/run", "no store"),
        ("review_labels", "--real {0}/one --out {0}/run --folds 1", "at least 2"),
        ("review_labels", "--real {0}/one --synth {0}/two --out {0}/run", "only here: C"),
        ("predict", "--model {0}/none --images {0} --out {0}/p.csv", "no model"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    name, arguments, says, two_alphabets, load_script, capsys
):
    before = sorted(p.name for p in two_alphabets.iterdir())
    script = load_script(name)
    code = run(script.options(), script.main, arguments.format(two_alphabets).split())
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert says in error and len(error.splitlines()) == 1, error
    assert sorted(p.name for p in two_alphabets.iterdir()) == before


def test_a_run_being_written_refuses_a_second_process(two_alphabets, load_script, capsys):
    from synth.store import lock_output

    script = load_script("train_classifier")
    lock = lock_output(two_alphabets / "run")
    try:
        arguments = f"--real {two_alphabets}/one --out {two_alphabets}/run".split()
        assert run(script.options(), script.main, arguments) == 2
    finally:
        lock.release()
    assert "another process" in capsys.readouterr().err


def test_generated_images_of_another_request_are_not_taken_for_these(two_alphabets, load_script):
    from synth.errors import InputError
    from synth.store import Store

    script = load_script("train_gan")
    made = {"fonts": ["more"], "per_class": None, "other": 5, "seed": 1, "steps": 9}
    store = Store.open(two_alphabets / "one")
    store.info["made"] = made
    script._refuse_another_request(store, made | {"steps": 10})
    with pytest.raises(InputError, match=r"one: .*\(per_class: None -> 20\); remove it"):
        script._refuse_another_request(store, made | {"per_class": 20})
