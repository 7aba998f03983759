"""An auxiliary loss in training: for each known character, is it this one, or anything else?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# of a head's answer at the start: a character is one of many
_FIRST_LOGIT = -2.0


def one_vs_rest_loss(logits: Tensor, target: Tensor) -> Tensor:
    """[B, known] logits of "it is this one", [B] classes (`known` and above: other) -> [B] losses.

    The cross-entropy of the image's own character, where it has one, and of the character among
    the rest that is most nearly taken for it (Saito and Saenko 2021, "OVANet: One-vs-all network
    for universal domain adaptation", eq. 2).
    """
    known = logits.shape[1]
    is_own = F.one_hot(target.clamp(max=known), known + 1)[:, :known].bool()
    own = torch.where(is_own, F.softplus(-logits), 0.0).sum(1)
    rest = logits.masked_fill(is_own, -torch.inf).max(1).values
    return own + F.softplus(rest)


class OneVsRest(nn.Module):
    """A logit for each known character from what the network's last layer is given.

    All real images of known characters, among them those of its look-alikes, are what a character
    is *not*: real ink is no evidence for it. In the softmax it is, since nearly all real ink of a
    training set is of known characters. Only training has these heads; on two development scenarios
    they made the features better, and the answers of the softmax with them, while their own
    answers tell unknown characters from known ones less well (docs/LOG.md).

    With `known` 0, or where the network's last layer is not linear, it has no heads, parameters
    or answer.
    """

    def __init__(self, network: nn.Module, classes: int, known: int) -> None:
        super().__init__()
        last = _last_layer(network, classes) if known else None
        self.heads = nn.Linear(last.in_features, known) if last is not None else None
        self._given: Tensor | None = None
        if self.heads is not None and last is not None:
            nn.init.constant_(self.heads.bias, _FIRST_LOGIT)
            last.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: Sequence[Tensor]) -> None:
        self._given = inputs[0] if self.training else None

    def forward(self) -> Tensor | None:
        """[B, known] float32 of the batch that the network has just read; None without heads."""
        if self.heads is None:
            return None
        given, self._given = self._given, None
        if given is None:
            raise RuntimeError("the network has read nothing since the last answer")
        return self.heads(given).float()


def _last_layer(network: nn.Module, classes: int) -> nn.Linear | None:
    """The linear layer that gives the logits, by its number of outputs."""
    found = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    return found[-1] if found else None
