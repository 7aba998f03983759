"""Two generators of one budget: one bends and inks the glyph, the other paints over it.

The bending one cannot paint: it moves the glyph's ink by smooth fields, makes it thicker, thinner,
paler or grainier, and makes none out of paper. That is what keeps the label right for characters it
has never seen, and what lets it learn from few images. It can still lose a stroke, a thin one to a
thin pen or any to the palest ink, and fold the picture where its fields add up; `gan.checks`
compares skeletons for that reason. The painting one may draw anything, joined strokes too, and has
to learn what must stay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.canvas import INK_FROM, INK_FULL

GENERATORS = ("bend", "paint")
_STYLE = 64  # numbers a style is mapped to, before it acts
# The bending field is a sum of fields of cells a side, each with its largest displacement in half
# image widths (0.16 is 5 px of 64): parts of a character move far, single strokes a little. No
# limit exceeds a fifth of its cell, so that in one field alone neighbours along a row or column
# keep their order, whatever its values. The sum of all can fold: 5 % of the area where every value
# is at its limit with a sign of its own, .1 % of it with values as of a normal distribution.
# Coordinates are never taken in bfloat16: in its 8 bits ink would move by up to an eighth of a
# pixel of 64.
FIELDS = ((4, 0.10), (8, 0.05), (16, 0.025))
SLANT_LIMIT, ASPECT_LIMIT, TURN_LIMIT = 0.40, 0.30, 0.15  # shear, log of width by height, radians
FIT_ROOM = 1.5  # what a bent picture may take, in its canvas's sides; and the most it is scaled by


class StyledBlock(nn.Module):
    """Two convolutions whose channels are scaled and shifted by the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(_STYLE, 2 * channels)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [B, C, h, w], [B, 64]
        scale, shift = self.film(style)[:, :, None, None].chunk(2, 1)
        hidden = F.leaky_relu(self.first(x) * (1 + scale) + shift, 0.2)
        return x + self.second(hidden)


class StyledTrunk(nn.Module):
    """The small U-Net that both generators read the glyph with."""

    def __init__(self, style_dim: int, width: int) -> None:
        super().__init__()
        low, high = 64 * width, 24 * width
        self.style = nn.Sequential(
            nn.Linear(style_dim, _STYLE),
            nn.LeakyReLU(0.2),
            nn.Linear(_STYLE, _STYLE),
            nn.LeakyReLU(0.2),
        )
        self.stem = nn.Conv2d(1, high, 4, stride=2, padding=1)
        self.down = nn.Conv2d(high, low, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(StyledBlock(low) for _ in range(2))
        self.lift = nn.Conv2d(low, high, 1)
        self.join = nn.Conv2d(2 * high, 32 * width, 3, padding=1)

    def forward(self, glyph: Tensor, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 1, H, W], [B, S] -> style [B, 64], features [B, C, H/4, W/4], [B, D, H/2, W/2]."""
        w = self.style(style)
        at_half = F.leaky_relu(self.stem(glyph), 0.2)
        x = F.leaky_relu(self.down(at_half), 0.2)
        for block in self.blocks:
            x = block(x, w)
        up = F.interpolate(self.lift(x), scale_factor=2, mode="bilinear", align_corners=False)
        return w, x, self.join(torch.cat([up, at_half], 1))


class BendingGenerator(nn.Module):
    """Glyph [B, 1, H, W] in -1..1 and style [B, S] -> image [B, 1, H, W] in -1..1."""

    def __init__(self, style_dim: int, width: int = 1) -> None:
        super().__init__()
        self.trunk = StyledTrunk(style_dim, width)
        # each scale's field: what the style does to every glyph, and what it does to this one
        self.sweep = nn.ModuleList(nn.Linear(style_dim, 2 * n * n) for n, _ in FIELDS[:2])
        self.field = nn.ModuleList(nn.Conv2d(64 * width, 2, 3, padding=1) for _ in FIELDS)
        self.hand = nn.Linear(style_dim, 3)  # slant, aspect, turn
        self.press = nn.Linear(style_dim, 4)  # thinner, same, thicker; gain: of the whole image
        self.pen = nn.Conv2d(32 * width, 5, 3, padding=1)  # the same at each place; and grain
        self.grain = nn.Sequential(
            nn.Conv2d(3, 8 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8 * width, 1, 3, padding=1),
        )
        for layer in (*self.field, self.pen, self.grain[-1]):
            _start(layer, 0.02)
        # A style acts from the first step on, about as strongly as hands differ: a generator that
        # starts with one hand has to find every way to vary by itself, and finds few.
        for layer, std in (*((s, 0.45) for s in self.sweep), (self.hand, 0.4), (self.press, 0.7)):
            _start(layer, std / style_dim**0.5)
        nn.init.constant_(self.press.bias[1:2], 1.5)  # mostly the pen as it is: a mean is blurred

    def forward(self, glyph: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """`noise` [B, 1, H, W] is the grain of paper and pen."""
        _, x, at_half = self.trunk(glyph, style)
        fields = []
        for i, (cells, limit) in enumerate(FIELDS):
            raw = self.field[i](F.adaptive_avg_pool2d(x, cells))
            if i < len(self.sweep):
                raw = raw + self.sweep[i](style).view(-1, 2, cells, cells)
            fields.append(limit * torch.tanh(raw))
        pen = self.pen(F.leaky_relu(at_half, 0.2))
        pen = F.interpolate(pen, scale_factor=2, mode="bilinear", align_corners=False)
        gain, grain_at = pen[:, 3:4], pen[:, 4:]
        press = self.press(style)[:, :, None, None]

        ink = (glyph + 1) / 2
        ink = bend_to_fit(ink, fitted(hand_matrix(self.hand(style)), ink.detach()), fields)
        weights = torch.softmax(pen[:, :3] + press[:, :3], 1)
        ink = (torch.cat([thinner(ink), ink, thicker(ink)], 1) * weights).sum(1, keepdim=True)
        grain = self.grain(torch.cat([ink, noise, grain_at], 1))
        # a soft ceiling at full ink, so that gradients pass where the stroke is black
        ink = ink * (1 + 0.5 * torch.tanh(gain + press[:, 3:]) + 0.5 * torch.tanh(grain))
        return 2 * (ink - F.softplus(12 * (ink - 1)) / 12) - 1


class PaintingGenerator(nn.Module):
    """The same inputs and output. Starts from the glyph itself and paints over and beside it."""

    def __init__(self, style_dim: int, width: int = 1) -> None:
        super().__init__()
        self.trunk = StyledTrunk(style_dim, width)
        self.film = nn.Linear(_STYLE, 64 * width)
        self.rise = nn.Conv2d(32 * width, 8 * width, 3, padding=1)
        self.full = nn.Conv2d(8 * width + 2, 8 * width, 3, padding=1)
        self.paint = nn.Conv2d(8 * width, 1, 3, padding=1)

    def forward(self, glyph: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """`noise` [B, 1, H, W] is the grain of paper and pen."""
        w, _, x = self.trunk(glyph, style)
        scale, shift = self.film(w)[:, :, None, None].chunk(2, 1)
        x = self.rise(F.leaky_relu(x * (1 + scale) + shift, 0.2))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.leaky_relu(self.full(torch.cat([F.leaky_relu(x, 0.2), glyph, noise], 1)), 0.2)
        return torch.tanh(2 * glyph + self.paint(x))


def _start(layer: nn.Module, std: float) -> None:
    """Normal weights and no bias."""
    assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)


def hand_matrix(raw: Tensor) -> Tensor:
    """[B, 3] any numbers -> [B, 2, 3] affine matrices of determinant 1: slant, aspect, turn."""
    with torch.autocast(raw.device.type, enabled=False):
        limits = torch.tensor([SLANT_LIMIT, ASPECT_LIMIT / 2, TURN_LIMIT], device=raw.device)
        slant, stretch, turn = (limits * torch.tanh(raw.float())).unbind(1)
        wide, high = stretch.exp(), (-stretch).exp()
        cos, sin, zero = turn.cos(), turn.sin(), torch.zeros_like(turn)
        top = [wide * cos, wide * (slant * cos - sin), zero]
        bottom = [high * sin, high * (slant * sin + cos), zero]
        return torch.stack(top + bottom, 1).view(-1, 2, 3)


def fitted(matrix: Tensor, ink: Tensor) -> Tensor:
    """The matrices [B, 2, 3], scaled and moved so that the ink [B, 1, H, W] keeps its longer extent
    and lies in the middle, as every imported image does: else slanting would cut strokes off."""
    places, there = _places(ink), _inked(ink)
    with torch.autocast(ink.device.type, enabled=False):
        back = matrix[:, :, :2]  # from the image to the glyph, as `affine_grid` wants it
        moved = places @ torch.linalg.inv(back).mT
        low, high = _extent(moved, there)
        before_low, before_high = _extent(places.expand_as(moved), there)
        longer = (high - low).amax(1) / (before_high - before_low).amax(1).clamp_min(1e-3)
        scale = torch.where(there.any(1)[:, 0], longer, 1.0)
        middle = back @ ((high + low) / 2)[:, :, None]
        return torch.cat([back * scale[:, None, None], middle], 2)


def _places(ink: Tensor) -> Tensor:
    """[B, 1, H, W] -> [H W, 2]: the middle of each pixel, x and y, in half image sides."""
    height, width = ink.shape[2:]
    x = (2 * torch.arange(width, device=ink.device) + 1) / width - 1
    y = (2 * torch.arange(height, device=ink.device) + 1) / height - 1
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1).view(-1, 2)


def _inked(ink: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, H W, 1] bool: the pixels that `synth.canvas.place` takes for ink."""
    return (ink > INK_FROM / INK_FULL).flatten(1)[:, :, None]


def _extent(places: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N, 2] places, [B, N, 1] which count -> [B, 2] and [B, 2]: least and greatest, or 0."""
    low = torch.where(there, places, torch.inf).amin(1)
    high = torch.where(there, places, -torch.inf).amax(1)
    return low.nan_to_num(0, 0, 0), high.nan_to_num(0, 0, 0)


def displacement(fields: list[Tensor], height: int, width: int) -> Tensor:
    """The sum of the fields [B, 2, n, n] -> [B, 2, height, width]."""
    size = (height, width)
    fine = [
        F.interpolate(f.float(), size=size, mode="bicubic", align_corners=False) for f in fields
    ]
    return torch.stack(fine).sum(0)


def bend_to_fit(ink: Tensor, matrix: Tensor, fields: list[Tensor]) -> Tensor:
    """[B, 1, H, W] sampled where the matrix [B, 2, 3] and the sum of the fields [B, 2, n, n], in
    half image widths, say; scaled and moved so that the bent ink stands where the ink stood before:
    the same middle and longer extent. What comes from outside is paper (0).

    Every real image fills its box. One that does not has to be scaled once more when it is done,
    which leaves its strokes wider, thinner or softer than the pen that the discriminator has seen.
    The scale is measured on a first bending, without gradient and with room around, and goes into
    the places that the only sampling reads.
    """
    with torch.autocast(ink.device.type, enabled=False):
        ink = ink.float()
        height, width = ink.shape[2:]
        moves = displacement(fields, height, width)
        room = FIT_ROOM * torch.eye(2, 3, device=ink.device).expand(len(ink), 2, 3)
        with torch.no_grad():
            around = (round(FIT_ROOM * height), round(FIT_ROOM * width))
            bent = _sampled(ink, matrix, moves, room, *around)
            fit = _fit(bent, ink)
        return _sampled(ink, matrix, moves, fit, height, width)


def _sampled(
    ink: Tensor, matrix: Tensor, moves: Tensor, view: Tensor, height: int, width: int
) -> Tensor:
    """The part of the bent picture that `view` [B, 2, 3] shows -> [B, 1, height, width]. Beyond the
    picture the displacement goes on as it is at the edge."""
    size = [len(ink), 1, height, width]
    whole = torch.cat([view, view.new_tensor([[[0, 0, 1]]]).expand(len(ink), 1, 3)], 1)
    grid = F.affine_grid(view, size, align_corners=False)
    moved = F.grid_sample(moves, grid, padding_mode="border", align_corners=False)
    grid = F.affine_grid(matrix @ whole, size, align_corners=False) + moved.permute(0, 2, 3, 1)
    return F.grid_sample(ink, grid, padding_mode="zeros", align_corners=False)


def _fit(bent: Tensor, ink: Tensor) -> Tensor:
    """[B, 1, h, w] seen with FIT_ROOM around and [B, 1, H, W] -> [B, 2, 3]: the view of the bent
    picture whose ink has the middle and the longer extent of `ink`; where either is blank, all."""
    there, there_before = _inked(bent), _inked(ink)
    places = FIT_ROOM * _places(bent)
    places_before = _places(ink)
    low, high = _extent(places.expand(len(ink), -1, -1), there)
    low_before, high_before = _extent(places_before.expand(len(ink), -1, -1), there_before)
    pixel = 2 / max(ink.shape[2:])  # extents are between the middles of pixels
    scale = (high - low + pixel).amax(1) / (high_before - low_before + pixel).amax(1)
    # a bending that left little ink is not to be blown up from that
    scale = scale.clamp(1 / FIT_ROOM, FIT_ROOM)[:, None]
    shift = (high + low) / 2 - scale * (high_before + low_before) / 2
    blank = ~(there.any(1) & there_before.any(1))
    scale, shift = scale.masked_fill(blank, 1.0), shift.masked_fill(blank, 0.0)
    return torch.cat([torch.eye(2, device=ink.device) * scale[:, :, None], shift[:, :, None]], 2)


def thicker(ink: Tensor) -> Tensor:
    return F.max_pool2d(ink, 3, stride=1, padding=1)


def thinner(ink: Tensor) -> Tensor:
    return -F.max_pool2d(-ink, 3, stride=1, padding=1)
