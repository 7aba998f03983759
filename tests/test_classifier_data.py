"""Stores -> batches: resuming, ranks, threads, evaluation order, damage, the Lightning module."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import ROOT

from classifier import loaders
from classifier.data import Batch, EvalLoader, Images, MixData, TrainLoader
from classifier.mixing import Mix, MixSettings, Pool, training_classes
from classifier.pipeline import Augment, CheckedFunction, load_function
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.store import SOURCES, Sample, Store, StoreWriter

SIZE, STEPS, BATCH = 16, 200, 12
CHARS = "abcd"
FIELDS = ("images", "target", "source", "row", "store")


def write_store(path: Path, source: str, train: int, val: int = 0) -> Store:
    """`train` and `val` random images of each class."""
    rng = np.random.default_rng(SOURCES.index(source))
    samples = [
        Sample(label, "" if label == OTHER else label, source, split)
        for split, count in (("train", train), ("val", val))
        for label in [*CHARS, OTHER] * count
    ]
    with StoreWriter(path, Canvas(SIZE, 2), Alphabet.of(CHARS), {}) as writer:
        shape = (len(samples), SIZE, SIZE)
        writer.append(rng.integers(0, 256, shape, dtype=np.uint8), samples)
    return Store.open(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    folder = tmp_path_factory.mktemp("stores")
    return [
        write_store(folder / source, source, train, val)
        for source, train, val in (("real", 10, 5), ("font", 8, 0), ("gan", 6, 0))
    ]


def mix_of(stores: Sequence[Store], total_steps: int = STEPS) -> Mix:
    alphabet = stores[0].alphabet
    names, targets = training_classes(alphabet, stores)
    pools = [Pool.of(store, t) for store, t in zip(stores, targets, strict=True)]
    settings = MixSettings(other_share=0.25, synthetic_start=2.0, real_only_share=0.2)
    return Mix.of(
        pools,
        (*alphabet.classes, *names),
        settings,
        seed=1,
        batch_size=BATCH,
        total_steps=total_steps,
    )


def loader(stores: Sequence[Store], augment: Augment | None = None, **other) -> TrainLoader:
    arguments = {"seed": 5, "threads": 1} | other
    mix = arguments.pop("mix", None) or mix_of(stores)
    return TrainLoader(stores, mix, augment or Augment(), **arguments)


def digest(batch: Batch) -> tuple[bytes, ...]:
    return tuple(batch[name].numpy().tobytes() for name in FIELDS)


@pytest.fixture(scope="module")
def unbroken(stores: list[Store]) -> list[tuple[bytes, ...]]:
    batches = [digest(batch) for batch in loader(stores)]
    assert len(batches) == STEPS
    return batches


def test_a_batch_is_the_codecs_picture_of_the_picked_rows(stores: list[Store]) -> None:
    mix = mix_of(stores)
    for step, batch in zip(range(20), loader(stores, Augment.none()), strict=False):
        picks = mix.batch(step)
        for name in FIELDS[1:]:
            np.testing.assert_array_equal(batch[name].numpy(), getattr(picks, name))
            assert batch[name].dtype == torch.int64
        wanted = [stores[s].images[r] for s, r in zip(picks.store, picks.row, strict=True)]
        assert batch["images"].shape == (BATCH, 1, SIZE, SIZE)
        assert batch["images"].numpy().tobytes() == to_float(np.stack(wanted)).tobytes()


def test_a_batch_stays_as_it_is_while_others_come(stores: list[Store]) -> None:
    kept = []
    for _, batch in zip(range(10), loader(stores), strict=False):
        kept.append((batch, digest(batch)))
    assert all(digest(batch) == before for batch, before in kept)


def test_torch_gets_dalis_memory_without_a_copy(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that DALI wrote to is the address that torch reads from."""
    addresses = []

    def noted(tensor: object, own: bool) -> torch.Tensor:
        out = to_torch(tensor, own)
        addresses.append((own, tensor.data_ptr() == out.data_ptr()))
        return out

    to_torch = loaders._to_torch
    monkeypatch.setattr(loaders, "_to_torch", noted)
    next(iter(loader(stores)))
    assert addresses == [(True, True)]
    addresses.clear()
    function = CheckedFunction(lambda image: image, "mine:same")  # DALI writes its buffers again
    next(iter(loader(stores, user_function=function)))
    assert addresses == [(False, False)]


def test_no_place_of_a_batch_goes_to_two_ranks(stores: list[Store]) -> None:
    mix = mix_of(stores)
    for step in range(STEPS):
        whole, parts = mix.batch(step), [mix.batch(step, rank, 2) for rank in (0, 1)]
        assert [len(part) for part in parts] == [BATCH // 2] * 2
        places = [list(zip(p.store, p.row, strict=True)) for p in (whole, *parts)]
        assert sorted(places[0]) == sorted(places[1] + places[2])


@pytest.mark.parametrize("start", [1, 77, 160, 199])
def test_a_resumed_run_equals_the_unbroken_one(
    stores: list[Store], unbroken: list[tuple[bytes, ...]], start: int
) -> None:
    resumed = [digest(batch) for batch in loader(stores, start_step=start)]
    assert resumed == unbroken[start:]


@pytest.mark.parametrize("how", ["2 threads", "memory maps", "passes of 30"])
def test_how_it_is_loaded_does_not_change_a_byte(
    stores: list[Store], unbroken: list[tuple[bytes, ...]], how: str
) -> None:
    if how == "2 threads":
        batches = [digest(batch) for batch in loader(stores, threads=2)]
    elif how == "memory maps":
        batches = [digest(batch) for batch in loader(stores, resident_bytes=0)]
    else:
        passes = loader(stores, steps_per_pass=30)
        assert len(passes) == 30
        parts = [[digest(batch) for batch in passes] for _ in range(8)]
        assert [len(part) for part in parts] == [30] * 6 + [20, 0]
        batches = [one for part in parts for one in part]
    assert batches == unbroken


def test_a_pass_that_is_left_early_goes_on_where_it_stopped(
    stores: list[Store], unbroken: list[tuple[bytes, ...]]
) -> None:
    passes = loader(stores, steps_per_pass=50)
    first = [digest(batch) for _, batch in zip(range(7), passes, strict=False)]
    # zip takes one more out of the first iterable only: 7 batches were given
    second = digest(next(iter(passes)))
    assert [*first, second] == unbroken[:8]


def test_ranks_make_the_batch_of_one_process(stores: list[Store]) -> None:
    whole = loader(stores)
    parts = [loader(stores, rank=rank, world=3) for rank in range(3)]
    for _, one, *three in zip(range(12), whole, *parts, strict=False):
        for name in FIELDS:
            joined = torch.empty_like(one[name])
            for rank, part in enumerate(three):
                joined[rank::3] = part[name]
            assert torch.equal(joined, one[name])
    with pytest.raises(InputError, match="12 cannot be shared by 5"):
        loader(stores, world=5)


def test_another_mix_acts_from_the_next_batch_on(
    stores: list[Store], unbroken: list[tuple[bytes, ...]]
) -> None:
    mix = mix_of(stores)
    weights = [np.ones(len(pool.rows)) for pool in mix.pools]
    weights[0][::3] = 5
    heavier = mix.with_weights(weights)
    changing = loader(stores, mix=mix, steps_per_pass=10)
    assert [digest(batch) for batch in changing] == unbroken[:10]
    changing.use(heavier)
    wanted = [digest(b) for b in loader(stores, mix=heavier, start_step=10, steps_per_pass=10)]
    assert [digest(batch) for batch in changing] == wanted != unbroken[10:20]


@pytest.mark.parametrize("batch_size", [7, 25, 1000])
def test_evaluation_shows_every_row_once_in_order(stores: list[Store], batch_size: int) -> None:
    rows = [stores[0].rows("val"), stores[1].rows("train")[::-1]]
    targets = [store.classes() for store in stores[:2]]
    evaluation = EvalLoader(stores[:2], rows, targets, batch_size=batch_size)
    for _ in range(2):  # it can be gone through again
        batches = list(evaluation)
        assert len(batches) == len(evaluation)
        whole = {name: torch.cat([b[name] for b in batches]).numpy() for name in batches[0]}
        assert whole["valid"].all()
        np.testing.assert_array_equal(whole["row"], np.concatenate(rows))
        np.testing.assert_array_equal(whole["store"], [0] * len(rows[0]) + [1] * len(rows[1]))
        np.testing.assert_array_equal(whole["source"], whole["store"])
        wanted = [t[r] for t, r in zip(targets, rows, strict=True)]
        np.testing.assert_array_equal(whole["target"], np.concatenate(wanted))
        images = np.concatenate([s.images[r] for s, r in zip(stores, rows, strict=False)])
        assert whole["images"].tobytes() == to_float(images).tobytes()


def test_evaluation_over_processes_counts_nothing_twice(stores: list[Store]) -> None:
    rows, targets = [stores[0].rows("val")], [stores[0].classes()]  # 25 rows
    shares = [
        list(EvalLoader(stores[:1], rows, targets, batch_size=4, rank=rank, world=3))
        for rank in range(3)
    ]
    sizes = [[len(batch["row"]) for batch in share] for share in shares]
    assert sizes == [[4, 4, 1]] * 3
    seen = torch.cat([batch["row"][batch["valid"]] for share in shares for batch in share])
    np.testing.assert_array_equal(np.sort(seen.numpy()), rows[0])


def test_nothing_to_evaluate_is_an_error(stores: list[Store]) -> None:
    with pytest.raises(InputError, match="not one image to evaluate"):
        EvalLoader(stores[:1], [np.array([], np.int64)], [stores[0].classes()])


def test_a_truncated_store_is_an_error(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "real", 4)
    file = store.path / "images.npy"
    os.truncate(file, file.stat().st_size - SIZE * SIZE)
    with pytest.raises(InputError, match="damaged"):
        Store.open(store.path)
    # opened before it was cut
    with pytest.raises(InputError, match="damaged"):
        Images([store])


def test_a_store_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "real", 4)
    batches = iter(loader([store], resident_bytes=0))
    next(batches)
    file = store.path / "images.npy"
    os.truncate(file, 1000)
    with pytest.raises(InputError, match=r"1000 bytes, .* when it was opened"):
        list(batches)


def test_a_users_function_that_fails_stops_with_its_name(stores: list[Store]) -> None:
    def half_bad(image: np.ndarray) -> np.ndarray:
        return np.full(image.shape, np.nan) if image[0, 0] > 250 else image

    function = CheckedFunction(half_bad, "mine:half_bad")
    with pytest.raises(InputError, match="mine:half_bad: gave NaN"):
        list(loader(stores, Augment.none(), user_function=function))


def test_a_users_function_does_not_change_which_batches_come(
    stores: list[Store], unbroken: list[tuple[bytes, ...]]
) -> None:
    function = CheckedFunction(lambda image: image, "mine:same")
    some = zip(range(5), loader(stores, user_function=function), strict=False)
    assert [digest(batch) for _, batch in some] == unbroken[:5]


def test_the_albumentations_example_goes_through_the_graph(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.path", sys.path[:])
    function = load_function("scripts.augment_example:distort")
    plain, bent = (
        next(iter(loader(stores, Augment.none(), user_function=f))) for f in (None, function)
    )
    assert torch.equal(plain["row"], bent["row"])
    assert bent["images"].shape == plain["images"].shape
    changed = (plain["images"] != bent["images"]).flatten(1).any(1)
    assert changed.any()
    assert bent["images"].min() >= -1 and bent["images"].max() <= 1


def test_an_augmentation_eased_to_nothing_leaves_images_as_they_are(stores: list[Store]) -> None:
    """The graph is built for all the numbers that it is fed, at the end of a run as well."""
    augment = Augment(perspective=0.1, grid_probability=0.5)
    eased = next(iter(loader(stores, augment, ease=lambda step: 0.0)))
    plain = next(iter(loader(stores, Augment.none())))
    assert torch.equal(eased["row"], plain["row"])
    assert (eased["images"] - plain["images"]).abs().max() < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_a_gpu_gives_the_same_batches_as_the_cpu(stores: list[Store], resident_bytes: int) -> None:
    augment = Augment(perspective=0.1, grid_probability=0.5)
    gpu = loader(stores, augment, device="gpu", device_id=0, resident_bytes=resident_bytes)
    assert gpu.images.on_gpu == bool(resident_bytes)
    for _, one, two in zip(range(20), loader(stores, augment), gpu, strict=False):
        for name in FIELDS[1:]:
            assert torch.equal(one[name], two[name])
        assert two["images"].is_cuda
        # how near each augmentation comes alone: tests/test_classifier_pipeline.py
        assert (one["images"] - two["images"].cpu()).abs().mean() < 0.02
    plain = next(iter(loader(stores, Augment.none())))["images"]
    on_gpu = next(iter(loader(stores, Augment.none(), device="gpu", device_id=0)))["images"]
    assert torch.allclose(plain, on_gpu.cpu(), atol=1e-6)


def test_stores_of_different_sizes_are_an_error(stores: list[Store], tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", Canvas(8, 1), Alphabet.of(CHARS), {}) as writer:
        writer.append(np.zeros((1, 8, 8), np.uint8), [Sample("a", "a", "real")])
    with pytest.raises(InputError, match=r"different sizes: \[8, 16\] px"):
        Images([stores[0], Store.open(tmp_path / "s")])


def test_stores_are_joined_in_the_memory_of_their_images(tmp_path: Path) -> None:
    """One whole array, and nothing of a store's size beside it."""
    many = [write_store(tmp_path / source, source, n) for source, n in (("real", 900), ("gan", 90))]
    size = sum(store.images.nbytes for store in many)
    tracemalloc.start()
    try:
        images = Images(many)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size <= held <= peak < size + many[1].images.nbytes
    for number, store in enumerate(many):
        rows = np.arange(len(store))
        got = images.take(np.full(len(store), number), rows)
        np.testing.assert_array_equal(got, store.images)


def test_images_that_lie_by_columns_are_read_as_what_they_show(tmp_path: Path) -> None:
    """numpy writes a file so where an array lies so."""
    store = write_store(tmp_path / "s", "real", 2)
    wanted = np.array(store.images)
    np.save(store.path / "images.npy", np.asfortranarray(wanted))
    again = Store.open(store.path)
    got = Images([again]).take(np.zeros(len(store), int), np.arange(len(store)))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("another", [np.zeros((3, SIZE, SIZE), np.uint8), np.zeros((20, SIZE, 8))])
def test_a_store_whose_images_are_others_now_is_an_error(
    another: np.ndarray, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "s", "real", 4)
    np.save(store.path / "images.npy", another)
    with pytest.raises(InputError, match="changed since it was opened"):
        Images([store])


def test_a_row_that_is_not_there_is_an_error(stores: list[Store]) -> None:
    images, last = Images(stores[:1]), len(stores[0]) - 1
    assert (images.take(np.array([0]), np.array([last]))[0] == stores[0].images[last]).all()
    for row in (last + 1, -1):
        with pytest.raises(IndexError):
            images.take(np.array([0]), np.array([row]))


class Watcher(pl.LightningModule):
    """Notes the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[bytes, ...]] = []
        self.checked: list[int] = []

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        self.seen.append(digest(batch))
        return self.weight.sum()

    def validation_step(self, batch: Batch, index: int) -> None:
        self.checked += batch["row"][batch["valid"]].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(stores: list[Store], folder: Path, steps: int, resume: Path | None = None):
    weights = [np.ones(len(pool.rows)) for pool in mix_of(stores).pools]
    weights[0][::3] = 5
    data = MixData(
        stores,
        mix_of(stores),
        Augment(),
        seed=5,
        steps_per_epoch=50,
        val_stores=stores[:1],
        val_rows=[stores[0].rows("val")],
        val_targets=[stores[0].classes()],
        threads=1,
    )
    if resume is None:
        data.set_weights(weights)  # a resumed run has them from its checkpoint
    module = Watcher()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return module


@pytest.mark.filterwarnings(
    # inside Lightning 2.6 with torch 2.14
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
)
@pytest.mark.parametrize("stop", [50, 73])  # at the end of an epoch, and inside one
def test_a_resumed_lightning_run_sees_the_batches_it_would_have_seen(
    stores: list[Store], tmp_path: Path, stop: int
) -> None:
    whole = fit(stores, tmp_path / "whole", 200)
    assert len(whole.seen) == 200
    assert whole.checked == stores[0].rows("val").tolist() * 4
    first = fit(stores, tmp_path / "parts", stop)
    second = fit(stores, tmp_path / "parts", 200, tmp_path / "parts" / f"{stop}.ckpt")
    assert first.seen + second.seen == whole.seen
    assert first.checked + second.checked == whole.checked
