"""What a training step does beside its losses: moving average, learning rate, lazy penalties."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_gan import CONFIG, train

from gan import lit
from gan.augment import SHIFT_PX, shifted
from gan.data import PairLoader
from gan.lit import GanModule
from gan.networks import Recogniser

pytestmark = pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")


def test_the_average_follows_by_its_half_life():
    """After the first half-lives: a weight of `ema_half_images` ago counts half."""
    module = GanModule(replace(CONFIG, ema_half_images=400), 64, 3)
    with torch.no_grad():
        for p in module.average.parameters():
            p.fill_(1.0)
        for p in module.generator.parameters():
            p.fill_(0.0)
    module.steps_done = 10_000
    for _ in range(400 // 8):
        module._follow(8)
    for p in module.average.parameters():
        assert torch.allclose(p, torch.full_like(p, 0.5), atol=1e-4)


def test_the_average_follows_faster_at_the_start():
    """In step n half of it is as young as 0.3 n steps: no more of the untrained start."""
    module = GanModule(replace(CONFIG, ema_half_images=1e9), 64, 3)
    with torch.no_grad():
        for p in module.average.parameters():
            p.fill_(1.0)
        for p in module.generator.parameters():
            p.fill_(0.0)
    module.steps_done = 9
    module._follow(8)
    wanted = 0.5 ** (1 / (0.3 * 10))
    p = next(module.average.parameters())
    assert torch.allclose(p, torch.full_like(p, wanted), rtol=1e-5)
    assert not any(p.requires_grad for p in module.average.parameters())


def test_the_average_is_what_a_run_ends_with(tmp_path, monkeypatch):
    """And it is between the start and the generator, not one of them."""
    from safetensors.torch import load_file

    kept = []
    follow = GanModule._follow

    def noted(self, images):
        follow(self, images)
        kept[:] = [self]

    monkeypatch.setattr(GanModule, "_follow", noted)
    train(tmp_path / "run")
    (module,) = kept
    saved = load_file(tmp_path / "run" / "generator.safetensors")
    average, now = module.average.state_dict(), module.generator.state_dict()
    assert all(torch.equal(saved[k], average[k]) for k in saved)
    assert any(not torch.equal(saved[k], now[k]) for k in saved)


def test_learning_rates_fall_along_a_cosine_to_their_last_share():
    config = replace(CONFIG, steps=100, generator_lr=4e-4, discriminator_lr=1e-3)
    module = GanModule(config, 64, 3)
    optimisers = module.configure_optimizers()
    found = []
    for step in range(100):
        module.steps_done = step
        module._decay(*optimisers)
        found.append([o.param_groups[0]["lr"] for o in optimisers])
    share = config.final_lr_share
    for at, factor in ((49, (1 + share) / 2), (99, share)):
        assert found[at] == pytest.approx([4e-4 * factor, 1e-3 * factor])
    third = share + (1 - share) * 0.5 * (1 + math.cos(math.pi * 25 / 100))
    assert found[24] == pytest.approx([4e-4 * third, 1e-3 * third])


def test_a_lazy_penalty_counts_for_the_steps_between(tmp_path, monkeypatch):
    """penalty_every * gamma / 2 (R1 + R2) in every so many steps, nothing in the others."""
    seen: dict[int, float] = {}
    plain = []
    step = GanModule._step

    def loss(*arguments):
        value, log = real_loss(*arguments)
        plain.append(value.item())
        return value, log

    def noted(self, optimiser, value):
        if optimiser is self.optimizers()[1]:
            seen[self.steps_done] = value.item() - plain[-1]
        step(self, optimiser, value)

    real_loss = lit.discriminator_loss
    monkeypatch.setattr(lit, "discriminator_loss", loss)
    monkeypatch.setattr(GanModule, "_step", noted)
    values = iter([0.25, 0.5, 0.125, 1.0])
    monkeypatch.setattr(
        lit, "gradient_penalty", lambda *_: torch.tensor(next(values), requires_grad=True)
    )
    train(tmp_path / "run", replace(CONFIG, penalty_every=3, gamma=5.0))
    assert [s for s, more in seen.items() if more] == [0, 3]
    assert seen[0] == pytest.approx(3 * 2.5 * 0.75, rel=1e-4)
    assert seen[3] == pytest.approx(3 * 2.5 * 1.125, rel=1e-4)


def test_a_recogniser_has_one_layout_wherever_it_comes_from():
    """Read back from a file it comes in another one than trained: sums would differ."""
    read_back = Recogniser(3)
    weight = read_back.body[3].weight
    assert not weight.is_contiguous(memory_format=torch.channels_last)
    module = GanModule(CONFIG, 64, 3, read_back)
    for network in (module.generator, module.discriminator, module.average, module._recogniser[0]):
        weights = [p for p in network.parameters() if p.ndim == 4]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    module.lay_out(torch.contiguous_format)
    assert module._recogniser[0].body[3].weight.is_contiguous()


def test_the_discriminator_sees_shifted_images_and_nothing_else(tmp_path, monkeypatch):
    """No flip, no turn, no other change: each real image is one of its own shifts."""
    batches, judged = [], []
    batch, loss = PairLoader.batch, lit.discriminator_loss

    def drawn(self, step):
        batches.append(batch(self, step))
        return batches[-1]

    def noted(score, real, fake, reference):
        judged.append((real, reference))
        return loss(score, real, fake, reference)

    monkeypatch.setattr(PairLoader, "batch", drawn)
    monkeypatch.setattr(lit, "discriminator_loss", noted)
    train(tmp_path / "run", replace(CONFIG, steps=3))
    moves = [(y, x) for y in range(-SHIFT_PX, SHIFT_PX + 1) for x in range(-SHIFT_PX, SHIFT_PX + 1)]
    found = set()
    for given, (real, reference) in zip(batches, judged, strict=False):
        assert torch.equal(reference, given["reference"])
        for before, after in zip(given["real"], real, strict=True):
            copies = before[None].expand(len(moves), -1, -1, -1)
            same = (shifted(copies, torch.tensor(moves)) == after).flatten(1).all(1)
            assert same.sum() == 1
            found.add(moves[int(same.nonzero()[0, 0])])
    assert len(judged) == 3 and len(found) > 10
