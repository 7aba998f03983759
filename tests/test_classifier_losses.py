"""The loss and its folding against plain probabilities."""

import torch

from classifier.losses import folded, folded_log_prob, smoothed_loss


def test_unspecified_other_is_the_sum_of_all_others():
    torch.manual_seed(0)
    logits = torch.randn(5, 9)
    p = torch.softmax(logits, 1)
    target = torch.tensor([0, 3, 4, 4, 8])  # 4 characters, class 4 is "other, unspecified"
    wanted = torch.stack([p[0, 0], p[1, 3], p[2, 4:].sum(), p[3, 4:].sum(), p[4, 8]])
    assert torch.allclose(folded_log_prob(logits, target, 4).exp(), wanted, rtol=1e-5)


def test_smoothing_zero_is_cross_entropy_and_one_is_uniform():
    torch.manual_seed(1)
    logits, target = torch.randn(6, 7), torch.randint(0, 3, (6,))
    none, whole = torch.zeros(6), torch.ones(6)
    plain = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    assert torch.allclose(smoothed_loss(logits, target, 3, none), plain, rtol=1e-5)
    uniform = -torch.log_softmax(logits, 1).mean(1)
    assert torch.allclose(smoothed_loss(logits, target, 3, whole), uniform, rtol=1e-5)
    # each image has its own strength: torch's own smoothing, image by image
    for i, strength in enumerate((0.0, 0.1, 0.3)):
        wanted = torch.nn.functional.cross_entropy(
            logits[i : i + 1], target[i : i + 1], label_smoothing=strength
        )
        own = smoothed_loss(logits[i : i + 1], target[i : i + 1], 3, torch.tensor([strength]))
        assert torch.allclose(own, wanted, rtol=1e-5)


def test_folding_keeps_known_logits_and_total_mass():
    torch.manual_seed(2)
    logits = torch.randn(4, 10)
    small = folded(logits, 6)
    assert small.shape == (4, 7)
    p, q = torch.softmax(logits, 1), torch.softmax(small, 1)
    assert torch.allclose(q[:, :6], p[:, :6], rtol=1e-5)
    assert torch.allclose(q[:, 6], p[:, 6:].sum(1), rtol=1e-5)
