"""What the GAN and the classifier share of learning. The one file of this package that imports
torch: `gan` and `classifier` may not import each other, and nothing else here imports this file.
"""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synth.errors import InputError
from synth.files import load_checked, save_checked
from synth.processor import slow_in_bfloat16

_MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: steepest at nought
_ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """AdamW, and for the parameter groups that say `"orthogonal": True` Muon: momentum, made
    orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").

    A convolution's weight [O, I, h, w] counts as the matrix [O, I h w]. On two CPU cores the same
    number of steps reaches what AdamW needs twice as many for (docs/LOG.md). torch.optim.Muon
    takes matrices only, and no second rule for norms, biases and the head.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group.get("orthogonal"):
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._turn(parameter, group["lr"], group["weight_decay"])
                        parameter.grad = None  # AdamW passes over it
        super().step()
        return loss

    def _turn(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None  # the caller has looked
        if "momentum" not in state:
            state["step"] = torch.tensor(0.0)  # which AdamW's loading asks every state for
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].mul_(_MOMENTUM).add_(gradient)
        ahead = gradient.add(momentum, alpha=_MOMENTUM)
        turned = orthogonal(ahead.reshape(len(ahead), -1)).view_as(parameter)
        # a tall matrix has shorter columns: its update is as large as a square one's
        gain = max(1.0, len(parameter) / parameter[0].numel()) ** 0.5
        parameter.mul_(1 - lr * weight_decay).add_(turned, alpha=-lr * gain)


def orthogonal(matrix: Tensor) -> Tensor:
    """[R, C] -> [R, C] near U V^T of its singular value decomposition.

    Five Newton-Schulz iterations with coefficients that leave the singular values between about
    0.7 and 1.2: near enough, and faster than exactly 1 (Jordan et al. 2024). In bfloat16 where this
    machine gains by it, else in float32: emulated products take twenty times as long.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    if gains_by_bfloat16():
        x = _newton_schulz(x.bfloat16())
    elif x.shape[1] > 2 * x.shape[0]:
        x = _newton_schulz_by_gram(x.float())
    else:
        x = _newton_schulz(x.float())
    return (x.T if tall else x).to(matrix.dtype)


def _newton_schulz(x: Tensor) -> Tensor:
    """[r, c] -> [r, c]."""
    x = x / (x.norm() + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _newton_schulz_by_gram(x: Tensor) -> Tensor:
    """[r, c] -> [r, c], r <= c: the same, where all but the first and last product are [r, r].

    Each iteration multiplies x from the left with a polynomial of its Gram matrix. These commute,
    so the Gram matrix of the next x follows from the last one, and x meets the product of them
    once. A weight of 3x3 has nine times as many columns as rows: two fifths of the arithmetic. In
    bfloat16 the small eigenvalues would drown.
    """
    a, b, c = _NEWTON_SCHULZ
    norm = x.norm() + 1e-7
    gram = x @ x.T / norm**2
    left = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for _ in range(_ITERATIONS):
        factor = b * gram + c * gram @ gram
        factor.diagonal().add_(a)
        left = factor @ left
        gram = factor @ gram @ factor
    return left @ x / norm


def groups_for_muon(
    parameters: Iterable[nn.Parameter],
    lr: float,  # of norms, biases, stem and head: AdamW's
    orthogonal_lr: float,  # of the hidden convolutions
    weight_decay: float,  # of weights; biases and norms have none
    orthogonal_weight_decay: float,
) -> list[dict[str, Any]]:
    """Parameter groups for `Muon`: hidden convolutions, other weights, biases and norms.

    Hidden are weights [O, I, h, w] with more than one input channel; depthwise ones and the stem
    of a gray image have one.
    """
    hidden: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for p in parameters:
        kind = hidden if p.ndim == 4 and p.shape[1] > 1 else weights if p.ndim > 1 else plain
        kind.append(p)
    groups = [
        {
            "params": hidden,
            "lr": orthogonal_lr,
            "weight_decay": orthogonal_weight_decay,
            "orthogonal": True,
        },
        {"params": weights, "lr": lr, "weight_decay": weight_decay},
        {"params": plain, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def gains_by_bfloat16() -> bool:
    """Whether this machine's GPU, or without one its processor, multiplies faster in bfloat16 than
    in float32: not what only emulates it, nor what `slow_in_bfloat16` names."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not slow_in_bfloat16()


def fitting_preset() -> str:
    """The preset that suits this machine, by what a training step takes on two cores: "large" with
    a GPU; "small" on a processor that gains by bfloat16; "lean" on one with AVX-512 that does not,
    where a step takes some 1.7 times as long; else "light", where it takes two to three times."""
    if torch.cuda.is_available():
        return "large"
    if gains_by_bfloat16():
        return "small"
    return "lean" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "light"


def quiet_lightning() -> None:
    """Without Lightning's tips, and without what newer torch says about Lightning's own calls:
    neither is a result, and a user can do nothing about either."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.* is deprecated")


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Whole or not there, with a checksum, and the one before kept."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    save_checked(path, buffer.getvalue())


def load_checkpoint(path: Path, map_location: Any | None = None) -> dict[str, Any]:
    """The newest whole one; says so where that is the one before. Runs no code that is in it.

    Raises InputError where there is none, and where one holds what is no plain data.
    """
    data, found = load_checked(path)
    if found != path:
        print(f"{path} is damaged or missing: going on from {found.name}")
    try:
        return torch.load(io.BytesIO(data), map_location=map_location or "cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError) as error:
        first = str(error).strip().split("\n")[0][:200]
        raise InputError(
            f"{found}: refused, it is no checkpoint of plain data ({first}); remove the run's "
            "folder to start anew"
        ) from None
