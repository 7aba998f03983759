"""What may train a classifier: images that show their glyph, read as it, and copy nothing."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gan.checks
import gan.generate as generate_module
from gan.checks import GLYPHS, REASONS, Checks
from gan.config import PRESETS
from gan.generate import TRIES, Tally, _other_fonts, generate, of_turn
from gan.glyphs import content_plan, written_glyphs
from gan.memorised import Neighbours, shrunk
from gan.networks import BendingGenerator, Generator
from gan.recogniser import train_recogniser
from gan.train import GanRun
from synth.alphabet import Alphabet
from synth.canvas import Canvas, ink_box
from synth.errors import InputError
from synth.fonts import FontFile, find_fonts, open_font
from synth.handwriting import Style
from synth.plan import make_plan
from synth.provenance import NOT_STATED, origins
from synth.quota import Quota
from synth.render import clean_range
from synth.store import Sample, Store, StoreWriter

ALPHABET = Alphabet.of("永國一口心風的我")
UNKNOWN = "馬鳥"  # to the run's recogniser
SKELETON, READING, COPY = range(len(REASONS))


@pytest.fixture(scope="module")
def plan():
    names = ("klee-one", "tw-kai", "zen-kurenaido")
    chars = [*ALPHABET.chars, *UNKNOWN]
    coverages = [open_font(f).coverage(chars) for f in find_fonts() if f.name in names]
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, 6), 12, {})
    others = dict.fromkeys(UNKNOWN, "common")
    return make_plan(ALPHABET, coverages, others, quota, Style(), Canvas(), 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory, plan):
    """An untrained generator, which draws its glyph, and a recogniser of some steps."""
    torch.manual_seed(0)
    rows = np.flatnonzero(plan.kind == "character")
    trained = train_recogniser(
        real=np.zeros((0, 64, 64), np.uint8),
        real_class=np.zeros(0, np.int64),
        font=written_glyphs(plan, rows),
        font_class=plan.char[rows].astype(np.int64),
        classes=len(ALPHABET),
        steps=50,
        batch_size=24,
        seed=1,
        device=torch.device("cpu"),
        precision=torch.float32,
    )
    return GanRun(
        tmp_path_factory.mktemp("run"),
        PRESETS["small"],
        Canvas(),
        ALPHABET,
        Style(),
        BendingGenerator(PRESETS["small"].style_dim).eval(),
        trained.network,
        ALPHABET.chars,
    )


def files_of(plan) -> list[FontFile]:
    return [font for font in find_fonts() if font.name in {f.name for f in plan.fonts}]


def checks_of(run, plan, real=None) -> Checks:
    where = (torch.device("cpu"), torch.float32)
    return Checks.prepare(run.recogniser, run.recogniser_chars, plan, files_of(plan), real, *where)


def studio_of(plan) -> SimpleNamespace:
    check = SimpleNamespace(fonts=[SimpleNamespace(font=font) for font in files_of(plan)])
    return SimpleNamespace(plan=plan, canvas=Canvas(), alphabet=ALPHABET, check=check)


@pytest.fixture(scope="module")
def glyphs(plan):
    """Two of each character: [n, 64, 64] uint8 and their numbers."""
    whole = np.flatnonzero(plan.whole)
    at = np.concatenate([whole[plan.char[whole] == c][:2] for c in range(len(plan.chars))])
    return clean_range(content_plan(plan, 0.7), at), plan.char[at]


def generated(run, plan, out, seed=1, real=None) -> Store:
    return generate(run, studio_of(plan), out, seed, {}, real)


@pytest.fixture(scope="module")
def store(run, plan, tmp_path_factory):
    return generated(run, plan, tmp_path_factory.mktemp("made") / "store")


def test_generated_images_are_no_second_print_of_rendered_ones(run, plan, tmp_path) -> None:
    """The same characters in the same places, but of other fonts, by other hands."""
    made = _other_fonts(plan)
    assert (made.char == plan.char).all()
    assert plan.usable is not None and plan.usable[made.font, made.char].all()
    several = plan.usable.sum(0)[plan.char] > 1
    assert several.any() and (made.font != plan.font)[several].all()

    store = generate(run, studio_of(plan), tmp_path / "made", 3, {}, keep_refused=True)
    at = np.flatnonzero(plan.whole)
    assert store.column("char").tolist() == [plan.chars[c] for c in plan.char[at]]
    hands = {"rendered": clean_range(plan, at), "others": clean_range(replace(made, seed=4), at)}
    likeness = {k: _correlation(np.asarray(store.images), v) for k, v in hands.items()}
    # that generator draws the glyph it is given: the renderer's it would repeat to 0.9 and more
    assert np.median(likeness["rendered"]) < np.median(likeness["others"]) + 0.1 < 0.8


def _correlation(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1).astype(float) for x in (these, those))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_the_same_seed_gives_the_same_bytes(run, plan, store, tmp_path):
    again, other = (generated(run, plan, tmp_path / str(s), s) for s in (1, 2))
    assert np.array_equal(store.images, again.images)
    assert store.content == again.content != other.content


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bytes(run, plan, store, tmp_path, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert generated(run, plan, tmp_path / "again", 1).content == store.content
    finally:
        torch.set_num_threads(before)


def test_nothing_is_missing_where_the_refused_are_kept(run, plan, store, tmp_path):
    whole = generate(run, studio_of(plan), tmp_path / "all", 1, {}, keep_refused=True)
    notes = whole.info["notes"]
    assert len(whole) == notes["tried"] == plan.whole.sum() > len(store)
    # the others are those that passed at the first attempt
    first = np.array(['"turn": 0' in record for record in store.column("record")])
    kept = set(store.column("sha256")[first])
    assert kept <= set(whole.column("sha256"))
    assert len(whole) - sum(notes["refused"].values()) == len(kept)


def test_counts_in_the_store_are_those_of_its_images(plan, store):
    notes, chars = store.info["notes"], store.column("char")
    wanted = int(plan.whole.sum())
    assert 0.5 * wanted < len(store) <= wanted
    assert notes["tried"] - sum(notes["refused"].values()) == len(store)
    for reason, count in notes["refused"].items():
        assert count == sum(row.get(reason, 0) for row in notes["refused_by_char"].values())
    # a probability of its character, or none where the recogniser has no such class
    unknown = np.isin(chars, list(UNKNOWN))
    assert unknown.any() and (np.isnan(store.column("score")) == unknown).all()
    assert (np.asarray(store.images).max((1, 2)) == 255).all()


def test_a_glyph_passes_as_itself_and_not_as_another(run, plan, glyphs):
    checks, (images, char) = checks_of(run, plan), glyphs
    failed, _ = checks.ask(images, images, char)
    assert (failed != SKELETON).all() and (failed == -1).mean() > 0.6
    wrong = np.roll(char, 2)  # the glyph that it was made from is another character's
    failed, _ = checks.ask(images, np.roll(images, 2, 0), wrong)
    assert (failed == SKELETON).mean() > 0.8 and (failed >= 0).mean() > 0.9
    # a font that draws another character: the skeleton is its glyph's, the reading is not
    failed, _ = checks.ask(images, images, wrong)
    assert (failed == READING).mean() > 0.8


def test_a_lost_half_is_seen(run, plan, glyphs):
    images, char = glyphs
    complex_ = np.isin(np.array(plan.chars)[char], list("國風我"))
    half = images[complex_].copy()
    half[:, 32:] = 0
    failed, _ = checks_of(run, plan).ask(half, images[complex_], char[complex_])
    assert (failed == SKELETON).all()
    blank = np.zeros_like(images)
    failed, _ = checks_of(run, plan).ask(blank, images, char)
    assert (failed == SKELETON).all()


def test_a_training_image_is_refused_as_a_copy(run, plan, glyphs):
    images, char = glyphs
    real = Neighbours(shrunk(images), np.array(plan.chars)[char])
    with_copies, _ = checks_of(run, plan, real).ask(images, images, char)
    without, _ = checks_of(run, plan).ask(images, images, char)
    assert ((with_copies == COPY) == (without == -1)).all() and (without == -1).any()


def test_few_images_are_held_against_glyphs_of_several_fonts(run, plan, monkeypatch):
    """One of each character, in the font that is generated from: that font alone says nothing."""
    coverages = [open_font(font).coverage(plan.chars) for font in files_of(plan)]
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, 1), 2, {})
    others = dict.fromkeys(UNKNOWN, "common")
    few = make_plan(ALPHABET, coverages, others, quota, Style(), Canvas(), 3)
    assert (np.bincount(few.char[few.whole]) == 1).all()
    shown = []

    def noted(of, rows):
        shown.append((of, rows))
        return written_glyphs(of, rows)

    monkeypatch.setattr(gan.checks, "written_glyphs", noted)
    first, again = checks_of(run, few), checks_of(run, few)
    assert np.array_equal(first.typical, again.typical)
    drawn, rows = shown[0]
    for number, char in enumerate(few.chars):
        fonts = drawn.font[rows[drawn.char[rows] == drawn.chars.index(char)]]
        able = np.flatnonzero(few.usable[:, number])
        assert len(fonts) == GLYPHS and len(able) > 1
        assert set(fonts) == set(able)  # there are three fonts
    # a plan that does not know its fonts' gaps has none
    checks_of(run, replace(few, usable=None))
    assert np.array_equal(shown[-1][0].usable, np.ones_like(few.usable))


def test_what_else_is_asked_for_changes_no_check(run, plan, glyphs):
    """Of a plan with a single character, too, an image is held against all that the recogniser
    knows: otherwise whatever keeps to its glyph's skeleton would be read as it."""
    images, char = glyphs
    coverages = [open_font(font).coverage("國") for font in files_of(plan)]
    quota = Quota(0, {"國": 6}, 0, {})
    one = make_plan(Alphabet.of("國"), coverages, {}, quota, Style(), Canvas(), 3)
    alone, among = checks_of(run, one), checks_of(run, plan)
    assert one.chars == ("國",) and len(alone.typical) == len(ALPHABET)
    assert np.allclose(np.linalg.norm(alone.typical, axis=1), 1, atol=1e-3)
    mine = char == plan.chars.index("國")
    known = np.isin(np.array(plan.chars)[char], ALPHABET.chars)
    failed, _ = alone.ask(images, images, np.zeros_like(char))
    wanted, _ = among.ask(images, images, np.full_like(char, plan.chars.index("國")))
    assert (failed[mine] == -1).all() and (failed[known & ~mine] == READING).mean() > 0.8
    assert (failed == wanted)[known].mean() > 0.9  # of other draws of the glyphs
    assert 0.5 < alone.near / among.near < 2


def test_a_run_of_class_numbers_is_checked_as_strictly(run, plan, tmp_path, monkeypatch):
    """It draws few of the plan's characters, and is held against all of them."""
    prepare, made = Checks.prepare, []

    def noted(*arguments):
        made.append(prepare(*arguments))
        return made[0]

    monkeypatch.setattr(Checks, "prepare", noted)
    studio = studio_of(plan)
    generate(of_class_numbers(run, "永國"), studio, tmp_path / "few", 1, {}, keep_refused=True)
    wanted = prepare(
        run.recogniser,
        run.recogniser_chars,
        _other_fonts(plan),
        [],
        None,
        generate_module.device(),
        generate_module.fast_precision(),
    )
    assert made[0].near == wanted.near and np.array_equal(made[0].typical, wanted.typical)


def test_a_plan_of_which_the_run_draws_nothing_is_refused(run, plan, tmp_path):
    with pytest.raises(InputError, match="nothing to generate: of the characters that"):
        generate(of_class_numbers(run, "龍"), studio_of(plan), tmp_path / "none", 1, {})
    assert not (tmp_path / "none").exists()


def test_an_image_that_is_read_needs_no_glyph_near_it(run, plan, glyphs):
    """Either of the two ways of reading is enough."""
    images, char = glyphs
    one_sided = copy.deepcopy(run.recogniser)
    with torch.no_grad():
        one_sided.head.bias[:] = -50.0
        one_sided.head.bias[0] = 50.0  # whatever it sees, it reads its first character
    checks = checks_of(replace(run, recogniser=one_sided), plan)
    failed, score = checks.ask(images, images, np.zeros_like(char))
    assert (score > 0.99).all() and (failed == -1).all()


def test_the_run_keeps_what_copies_are_found_by(run, plan, store, tmp_path, capsys):
    path = run.path / "neighbours.npz"
    assert not path.exists() and store.info["notes"]["copy_below"] is None
    real = tmp_path / "real"
    with StoreWriter(real, Canvas(), ALPHABET, {}) as writer:
        chars = store.column("char")
        known = np.flatnonzero(np.isin(chars, ALPHABET.chars))
        writer.append(np.asarray(store.images[known]), [Sample(c, c, "real") for c in chars[known]])
    again = generated(run, plan, tmp_path / "second", real=Store.open(real))
    # the images of the first call are now training images: none of them comes again
    assert again.info["notes"]["refused"]["copy"] >= len(known)
    assert Neighbours.load(path).char.tolist() == chars[known].tolist()
    assert "not checked for copies" not in capsys.readouterr().out
    # damaged, they are made anew from the real images where those are there
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    with pytest.raises(InputError, match="damaged; without it nothing is compared"):
        generated(run, plan, tmp_path / "third")
    generated(run, plan, tmp_path / "third", real=Store.open(real))
    assert "made anew from" in capsys.readouterr().out and path.read_bytes() == good
    path.unlink()


def test_characters_that_are_mostly_refused_are_named():
    tally = Tally()
    tally.add(np.repeat(["a", "b", "c", "d"], [10, 10, 4, 10]), np.repeat([1, -1], [6, 28]))
    tally.add(np.repeat(["b", "c"], [5, 3]), np.repeat([0, 2], [5, 3]))
    assert tally.by_reason() == {"skeleton": 5, "reading": 6, "copy": 3}
    assert tally.by_char() == {
        "a": {"tried": 10, "reading": 6},
        "c": {"tried": 7, "copy": 3},
        "b": {"tried": 15, "skeleton": 5},
    }
    assert tally.mostly_refused() == {"a": "reading"}
    text = tally.summary(30)
    assert "28 of 30 asked for; 42 tried, 14 refused" in text
    assert "1 characters: a (reading)" in text and "no image at all" not in text
    # of one image a character too few are tried for "most", and none may be left
    tally.add(np.array(["z"] * 3), np.zeros(3, int))
    assert tally.none_kept() == ["z"] and "no image at all for 1 characters: z" in tally.summary(31)
    assert tally.mostly_refused() == {"a": "reading"}


def test_the_place_in_the_box_is_the_importers(run, plan, glyphs):
    from gan.generate import inked

    chars = [plan.chars[c] for c in glyphs[1]]
    number = np.arange(len(chars))
    images = inked(run.generator, glyphs[0], chars, number, 1, run, torch.device("cpu"))
    for image in images:
        assert not image[:5].any() and not image[59:].any()
        assert not image[:, :5].any() and not image[:, 59:].any()
        top, left, bottom, right = ink_box(image)
        assert 53 <= max(bottom - top, right - left) <= 54
        assert abs(top + bottom - 64) <= 1 and abs(left + right - 64) <= 1


def of_class_numbers(run, chars: str) -> GanRun:
    torch.manual_seed(2)
    config = replace(run.config, condition="class")
    generator = Generator(config, 64, len(chars)).eval()
    drawable = {c: i for i, c in enumerate(chars)}
    return replace(run, config=config, generator=generator, drawable=drawable)


def test_a_run_of_class_numbers_generates_only_what_it_had_images_of(run, plan, tmp_path):
    """Its content is the number: the glyph of another font changes nothing."""
    classes = of_class_numbers(run, "永國")
    store = generate(classes, studio_of(plan), tmp_path / "store", 1, {}, keep_refused=True)
    assert set(store.column("char")) == set("永國") and len(store) == 12
    from gan.generate import inked

    number, where = np.arange(2), torch.device("cpu")
    two = [
        inked(classes.generator, ink, ["永", "國"], number, 1, classes, where)
        for ink in (np.zeros((2, 64, 64), np.uint8), np.full((2, 64, 64), 200, np.uint8))
    ]
    assert (two[0] == two[1]).all() and (two[0][0] != two[0][1]).any()


def test_styles_read_off_real_images_are_used(run, plan):
    """Without doubt and with one image read, every style is that image's."""
    read = np.stack([np.full(run.config.style_dim, 0.7), np.zeros(run.config.style_dim)])
    styled = replace(run, read_styles=read[None].astype(np.float32))
    assert np.allclose(styled.styles(np.arange(5), 1), 0.7)
    noise = run.styles(np.arange(2000), 1)
    assert abs(noise.mean()) < 3 / np.sqrt(noise.size) and abs(noise.std() - 1) < 0.02


def test_each_turn_of_each_seed_is_drawn_from_numbers_of_its_own(run):
    """One more turn is not the first one of the next seed, nor the seed of font images."""
    seeds = [0, 1, 2, 3, 1_000_004, 2**63 - 1]
    found = {of_turn(seed, turn) for seed in seeds for turn in range(TRIES)}
    assert len(found) == len(seeds) * TRIES and not found & set(seeds)
    assert all(0 <= seed < 2**63 for seed in found)
    number = np.arange(4)
    again, next_seed = (run.styles(number, of_turn(s, t)) for s, t in ((1, 1), (2, 0)))
    assert np.abs(again - next_seed).mean() > 0.5


def test_a_place_is_drawn_anew_in_another_turn(run, plan, tmp_path, monkeypatch):
    """Hand, style and grain: none of what was refused comes again, in any seed."""
    drawn = []
    ink = generate_module.inked

    def noted(generator, glyphs, chars, number, seed, *rest):
        drawn.append((seed, glyphs[0].tobytes()))
        return ink(generator, glyphs, chars, number, seed, *rest)

    monkeypatch.setattr(generate_module, "inked", noted)

    def refuse(self, images, *_):
        return np.zeros(len(images), int), np.zeros(len(images), np.float32)

    monkeypatch.setattr(Checks, "ask", refuse)
    for seed in (1, 2):
        with pytest.raises(InputError, match="not one image"):
            generated(run, plan, tmp_path / str(seed), seed)
    assert len(drawn) == 2 * TRIES
    assert len({seed for seed, _ in drawn}) == len({glyph for _, glyph in drawn}) == 2 * TRIES


def test_each_image_says_which_generator_drew_it(run, plan, tmp_path):
    """In its origin, between the colons that others read, and in the store's notes."""
    known = replace(run, path=tmp_path / "a:run", digest="0123456789ab", real="cafe")
    store = generated(known, plan, tmp_path / "store")
    for origin, char, record in zip(
        *(store.column(n) for n in ("origin", "char", "record")), strict=True
    ):
        checkpoint, font, shown = origin.split(":")
        assert checkpoint == "a_run/generator.safetensors@0123456789ab" and shown == char
        assert font in {f.name for f in plan.fonts}
        assert json.loads(record).keys() == {"place", "turn"}
    assert {o.place for o in origins(store)} == {f.name for f in plan.fonts}
    assert all(o.licence != NOT_STATED for o in origins(store))
    notes = store.info["notes"]
    assert (notes["generator"], notes["trained_on"]) == ("0123456789ab", "cafe")
    assert notes["steps"] == known.config.steps


def test_each_image_names_the_real_one_that_its_style_is_of(run, plan, tmp_path):
    dim = run.config.style_dim
    bank = np.zeros((4, 2, dim), np.float32)
    bank[:, 0] = np.linspace(-1, 1, 4)[:, None]
    rows = np.array([5, 11, 17, 400])
    styled = replace(run, read_styles=bank, style_rows=rows)
    store = generated(styled, plan, tmp_path / "store")
    found = [json.loads(record) for record in store.column("record")]
    assert {r["style_row"] for r in found} == set(rows.tolist())
    for r in found:
        style = styled.styles(np.array([r["place"]]), of_turn(1, r["turn"]))[0, 0]
        assert rows[np.abs(bank[:, 0, 0] - style).argmin()] == r["style_row"]


def test_the_rate_is_printed_and_kept_beside_the_store(run, plan, tmp_path, capsys):
    store = generated(run, plan, tmp_path / "store")
    rates = json.loads((store.path / "rates.json").read_text())
    assert rates["images"] == store.info["notes"]["tried"] and rates["images_per_second"] > 0
    assert f"tried {rates['images']} images in" in capsys.readouterr().out


def test_a_finished_store_has_its_rate(run, plan, tmp_path, monkeypatch):
    """A kill just after the store got its name takes nothing away."""

    class Killed(BaseException):
        pass

    finish = StoreWriter._finish

    def killed(self):
        finish(self)
        raise Killed

    monkeypatch.setattr(StoreWriter, "_finish", killed)
    with pytest.raises(Killed):
        generated(run, plan, tmp_path / "store")
    assert Store.open(tmp_path / "store") and (tmp_path / "store" / "rates.json").is_file()
