"""The training and prediction commands: wrong inputs end in one line, and requests are met."""

import json

import numpy as np
import pytest
from interrupting import Stop

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.store import Sample, StoreWriter


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
        # before anything is trained
        ("train_gan", "--real {0}/one --out {0}/run --per-class -1", "a number of images from 0"),
        ("train_gan", "--real {0}/one --out {0}/run --other -1", "a number of images from 0"),
        ("train_gan", "--real {0}/one --out {0}/run --per-class 0", "no image is asked for"),
        ("train_gan", "--real {0}/one --out {0}/run --without-unread {0}/no", "no: not what check"),
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
    store.info["made"] = made  # as an earlier version wrote it, which left no font out
    wanted = made | {"without": []}
    script._refuse_another_request(store, wanted | {"steps": 10})
    with pytest.raises(InputError, match=r"one: .*\(per_class: None -> 20\); remove it"):
        script._refuse_another_request(store, wanted | {"per_class": 20})
    with pytest.raises(InputError, match=r"one: .*\(without: \[\] -> \['a'\]\); remove it"):
        script._refuse_another_request(store, wanted | {"without": ["a"]})


@pytest.mark.parametrize("name", ["train_gan", "train_classifier"])
def test_compiling_is_asked_for_by_one_word(name, load_script):
    options = load_script(name).options()
    for words, wanted in (([], False), (["--compile"], True), (["--compile", "false"], False)):
        assert options.parse_args([*words, "--real", "real", "--out", "run"]).compile is wanted


@pytest.fixture
def gan_run(tmp_path):
    """An untrained one, which draws the glyphs it is given; few fonts, so that it is quick."""
    from tiny_gan import few_fonts, write_run

    with few_fonts():
        yield write_run(tmp_path / "gan", chars="一國永")


def test_more_of_a_list_of_other_characters(gan_run, tmp_path, load_script, capsys):
    """All labelled other, each character by its name, about as many as were asked for."""
    from synth.store import Store

    (tmp_path / "list.txt").write_text("馬\n鳥\n國\n", "utf-8")  # one of them is known
    script = load_script("train_gan")
    line = f"--generate-only --run {gan_run} --other-from {tmp_path}/list.txt --seed 3"
    assert run(script.options(), script.main, [*line.split(), "--out", f"{tmp_path}/more"]) == 0
    store = Store.open(tmp_path / "more")
    assert set(store.column("label")) == {"other"} and set(store.column("char")) == set("馬鳥")
    assert set(store.column("kind")) == {"listed"} and set(store.column("source")) == {"gan"}
    assert store.alphabet.chars == tuple("一國永")
    notes = store.info["notes"]
    left_over = sum(notes["refused"].values())
    assert notes["tried"] - left_over == len(store) and 0 < len(store) <= 100
    assert f"{len(store)} images" in capsys.readouterr().out
    # with numbers of its own, beside known characters
    line += f" --per-class 4 --other 20 --out {tmp_path}/both"
    assert run(script.options(), script.main, line.split()) == 0
    both = Store.open(tmp_path / "both")
    labels = both.column("label")
    assert set(labels) == {*"一國永", "other"} and (labels != "other").sum() <= 12
    assert 0 < (labels == "other").sum() <= 20


@pytest.fixture
def asked(monkeypatch):
    """The plans that images are to be generated from; none is generated."""
    import gan.generate

    plans = []

    def noted(run, studio, *rest):
        plans.append(studio.plan)
        raise Stop

    monkeypatch.setattr(gan.generate, "generate", noted)
    return plans


def others_of(plan) -> int:
    """Images of other characters that a GAN can be asked for: not of what is no character."""
    return int(((plan.label == "other") & plan.whole).sum())


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ("--other 25 --per-class 1", 25),
        ("--quota {0}/quota.csv", 40),
        ("--other-from {0}/list.txt --other 20", 20),
        ("--other-from {0}/list.txt --per-class 7", 14),
        ("--other-from {0}/list.txt --quota {0}/quota.csv", 40),
    ],
)
def test_other_images_are_counted_as_the_gan_draws_them(
    request_, count, gan_run, tmp_path, load_script, asked
):
    """Without the non-characters, which it leaves out."""
    (tmp_path / "list.txt").write_text("馬\n鳥\n", "utf-8")
    (tmp_path / "quota.csv").write_text("label,images\n國,3\nother,40\n", "utf-8")
    script = load_script("train_gan")
    line = f"--generate-only --run {gan_run} --out {tmp_path}/more {request_.format(tmp_path)}"
    with pytest.raises(Stop):
        script.main(script.options().parse_args(line.split()))
    assert others_of(asked[0]) == count


def test_other_images_after_training_are_counted_as_the_gan_draws_them(
    gan_run, tmp_path, load_script, asked, monkeypatch
):
    from types import SimpleNamespace

    from tiny_gan import real_store

    import gan.train
    from gan.run import GanRun
    from synth.style import Style

    real_store(tmp_path / "real", "一國", {"國": 4, "一": 4})
    trained = GanRun.open(gan_run), SimpleNamespace(style=Style(), coverages=[])
    monkeypatch.setattr(gan.train, "train", lambda *_: trained)
    script = load_script("train_gan")
    line = f"--real {tmp_path}/real --out {tmp_path}/run --other 25"
    with pytest.raises(Stop):
        script.main(script.options().parse_args(line.split()))
    assert others_of(asked[0]) == 25


def write_verdict(path, strengths, judged_at=1.0, **fonts):
    """As check_fonts.py writes it: which fonts and strengths are read."""
    verdict = {
        "fonts": {name.replace("_", "-"): {"read": read} for name, read in fonts.items()},
        "strengths": {name: {"read": read} for name, read in strengths.items()},
        "fonts_judged_at": judged_at,
    }
    path.write_text(json.dumps(verdict), "utf-8")


def test_training_is_told_which_fonts_to_leave_out(
    gan_run, tmp_path, load_script, asked, monkeypatch, capsys
):
    from types import SimpleNamespace

    from tiny_gan import real_store

    import gan.train
    from gan.run import GanRun
    from synth.style import Style

    real_store(tmp_path / "real", "一國", {"國": 4, "一": 4})
    write_verdict(tmp_path / "read.json", {"0.5": True, "1": False}, tw_kai=False)
    trained = GanRun.open(gan_run), SimpleNamespace(style=Style(), coverages=[])
    calls = []
    monkeypatch.setattr(gan.train, "train", lambda *given: calls.append(given) or trained)
    script = load_script("train_gan")
    line = f"--real {tmp_path}/real --out {tmp_path}/run --other 0 --without klee-one"
    line += f" --without-unread {tmp_path}/read.json"
    with pytest.raises(Stop):
        script.main(script.options().parse_args(line.split()))
    made, without, strength = calls[0][5], *calls[0][-2:]
    assert made["without"] == without == ["klee-one", "tw-kai"] and strength == 0.5
    assert made["without_unread"] == f"{tmp_path}/read.json"
    assert [font.name for font in asked[0].fonts] == ["zen-kurenaido"]
    out = capsys.readouterr().out
    assert "not read, left out: tw-kai\nstrength 0.5 in place of 1, which is not read\n" in out


def test_a_font_that_is_left_out_is_in_no_image_of_a_finished_run(
    gan_run, tmp_path, load_script, capsys
):
    """One that it was trained without, if it is there, and one that is not read."""
    from tiny_gan import write_run

    from synth.store import Store

    path = write_run(tmp_path / "with", chars="一國永", more={"without": ["klee-one", "gone"]})
    write_verdict(tmp_path / "read.json", {"0.5": True, "1": False}, tw_kai=False)
    script = load_script("train_gan")
    line = f"--generate-only --run {path} --per-class 4 --without-unread {tmp_path}/read.json"
    assert run(script.options(), script.main, [*line.split(), "--out", f"{tmp_path}/more"]) == 0
    store = Store.open(tmp_path / "more")
    assert {origin.split(":")[1] for origin in store.column("origin")} == {"zen-kurenaido"}
    assert store.info["made"]["without"] == ["klee-one", "tw-kai"]
    out = capsys.readouterr().out
    assert "not read, left out: tw-kai\n" in out and "in place of" not in out
    assert "read.json not asked, kept: zen-kurenaido\n" in out
    write_verdict(tmp_path / "read.json", {"0.5": True}, 0.5, tw_kai=False)
    assert run(script.options(), script.main, [*line.split(), "--out", f"{tmp_path}/new"]) == 2
    assert "judged at strength 0.5, wanted is 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["render_fonts", "train_gan"])
def test_fonts_are_left_out_by_the_same_words(name, load_script):
    told = " ".join(load_script(name).options().format_help().split())
    assert "names of fonts to leave out" in told
    assert "file of check_fonts.py --out: leaves out the fonts, and the strength, that" in told


def test_more_of_another_alphabet(gan_run, tmp_path, load_script):
    from synth.store import Store

    (tmp_path / "alphabet.txt").write_text("鳥\n馬\n", "utf-8")
    script = load_script("train_gan")
    line = f"--generate-only --run {gan_run} --alphabet {tmp_path}/alphabet.txt --per-class 6"
    assert run(script.options(), script.main, [*line.split(), "--out", f"{tmp_path}/more"]) == 0
    store = Store.open(tmp_path / "more")
    assert store.alphabet.chars == tuple("馬鳥") and set(store.column("label")) == set("馬鳥")
    assert len(store) <= 12 and store.info["made"]["run"] == str(gan_run)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--real {0}/none --out {0}/run --other-from {0}/known.txt", "goes with --generate-only"),
        ("--generate-only --run {0}/gan --out {0}/run --other-from {0}/no.txt", "no such"),
        ("--generate-only --run {0}/gan --out {0}/run --other-from {0}/known.txt", "is in the"),
        ("--generate-only --run {0}/gone --out {0}/run", "gone_fonts: no such folder of fonts"),
        (
            "--generate-only --run {0}/gan --out {0}/run --without nothing",
            "--without nothing: no font of that name",
        ),
        # what would be ignored
        ("--real {0}/none --out {0}/run --alphabet {0}/known.txt", "--alphabet goes with --gen"),
        ("--real {0}/none --out {0}/run --run {0}/gan", "--run goes with --generate-only"),
        *(
            (
                f"--generate-only --run {{0}}/gan --out {{0}}/run {option}",
                f"{option.split()[0]} goes",
            )
            for option in (
                "--preset small",
                "--generator paint",
                "--style image",
                "--condition class",
                "--steps 9",
                "--batch-size 9",
                "--recogniser-steps 9",
                "--devices 1",
                "--compile",
                "--keep-refused",
                "--apart-from {0}/gan",
            )
        ),
    ],
)
def test_lists_and_fonts_that_cannot_be_used(arguments, says, gan_run, load_script, capsys):
    from tiny_gan import write_run

    top = gan_run.parent
    (top / "known.txt").write_text("國\n", "utf-8")
    write_run(top / "gone", chars="一國永", more={"font_folders": [f"{top}/gone_fonts"]})
    script = load_script("train_gan")
    assert run(script.options(), script.main, arguments.format(top).split()) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and len(error.splitlines()) == 1, error
    assert not (top / "run").exists()


def test_fonts_of_the_run_are_used_again_unless_others_are_given(
    gan_run, tmp_path, load_script, monkeypatch
):
    from tiny_gan import write_run

    import synth.studio
    from synth.errors import InputError

    for name in ("own", "given"):
        (tmp_path / name).mkdir()
    path = write_run(tmp_path / "with", chars="一國永", more={"font_folders": [f"{tmp_path}/own"]})
    asked = []

    def find(folders):
        asked.append(list(folders))
        raise InputError("seen")

    monkeypatch.setattr(synth.studio, "find_fonts", find)
    script = load_script("train_gan")
    line = f"--generate-only --run {path} --out {tmp_path}/more".split()
    for more in ([], ["--fonts", f"{tmp_path}/given"]):
        assert run(script.options(), script.main, [*line, *more]) == 2
    assert asked == [[tmp_path / "own"], [tmp_path / "given"]]
