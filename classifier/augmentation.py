"""What the augmentation of a batch does to each image, drawn in numpy.

Every random number is a function of (seed, step) and goes into the DALI graph beside the images, so
a resumed run sees the same pixels, any number of threads gives the same bytes, and CPU and GPU are
given the same parameters. Elastic bending and pen weight, which DALI has on no CPU, stand in
`bending`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from synth.errors import InputError

LIMITS = {"fade": 1.0, "perspective": 0.4, "grid_share": 0.9}
_BLUR_WINDOW_PX = 5
SHARP_PX = 0.05  # a blur of this sigma leaves every pixel as it is, to the last bit
_NOISE_VALUES, _NOISE_SIGMA = 1 << 20, 30


@dataclass(frozen=True)
class Augment:
    """Ranges of the augmentation; 0 leaves a step out. Values are drawn uniformly unless said."""

    rotation_deg: float = 8.0  # turned by up to this, either way
    scale: float = 0.12  # size times exp(-this .. this)
    aspect: float = 0.10  # width times, height divided by exp(-this .. this)
    shear_deg: float = 8.0  # slanted by up to this, either way
    translate_px: float = 3.0  # moved by up to this, in x and in y
    perspective: float = 0.0  # seen from the side: one edge up to this share nearer, the other less
    blur_probability: float = 0.3
    blur_sigma_px: float = 0.9  # blurred by a Gaussian of 0.3 up to this
    fade: float = 0.4  # ink times 1 - this .. 1
    contrast: float = 0.6  # contrast about the mid tone times 1 .. 1 + this: soft edges harden
    brightness: float = 25.0  # tone added, of 255, either way: soft edges swell or shrink
    noise_probability: float = 0.3
    noise_sigma: float = 16.0  # Gaussian noise of 0 up to this, of 255
    erase_probability: float = 0.15
    erase_px: float = 14.0  # a box of paper put over it, each side 4 px up to this
    grid_probability: float = 0.0
    grid_px: float = 16.0  # squares of paper put over it at this distance, 8 px up to this
    grid_share: float = 0.25  # of the picture that they cover, at most

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = 1 if name.endswith("probability") else np.inf
            if not 0 <= value <= most:
                raise InputError(f"augmentation: {name} {value} is not between 0 and {most}")
        for name, most in LIMITS.items():
            if getattr(self, name) > most:
                raise InputError(
                    f"augmentation: {name} {getattr(self, name)} is not between 0 and {most:g}"
                )

    @classmethod
    def none(cls) -> Self:
        """Leaves every image as it is."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__, 0.0))

    @classmethod
    def of(cls, ranges: Mapping[str, float]) -> Self:
        """The defaults but for these. Raises InputError for a name that is none."""
        unknown = sorted(set(ranges) - set(cls.__dataclass_fields__))
        if unknown:
            there = ", ".join(cls.__dataclass_fields__)
            raise InputError(f"augmentation: nothing is called {unknown[0]!r}; there are {there}")
        return cls(**ranges)

    def scaled(self, strength: float) -> Self:
        """All ranges and probabilities times `strength`, 0 (nothing) to 2 (twice as much)."""
        if not 0 <= strength <= 2:
            raise InputError(f"augmentation strength {strength} is not between 0 and 2")
        if strength == 1:
            return self
        values = {name: value * strength for name, value in vars(self).items()}
        for name in values:
            most = 1.0 if name.endswith("probability") else LIMITS.get(name, np.inf)
            values[name] = min(values[name], most)
        return replace(self, **values)

    @property
    def moves(self) -> bool:
        return bool(
            self.rotation_deg
            or self.scale
            or self.aspect
            or self.shear_deg
            or self.translate_px
            or self.perspective
        )

    @property
    def blurs(self) -> bool:
        return bool(self.blur_probability and self.blur_sigma_px)

    @property
    def tones(self) -> bool:
        return any((self.fade, self.contrast, self.brightness)) or self.noises

    @property
    def noises(self) -> bool:
        return bool(self.noise_probability and self.noise_sigma)

    @property
    def erases(self) -> bool:
        return bool(self.erase_probability and self.erase_px)

    @property
    def grids(self) -> bool:
        return bool(self.grid_probability and self.grid_px and self.grid_share)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `draw` gives, in order."""
        return (
            *(["matrix"] * self.moves),
            *(["blur_sigma_px", "blur_window_px"] * self.blurs),
            *(["gain", "shift"] * self.tones),
            *(["noise", "noise_gain"] * self.noises),
            *(["erase_size_px", "erase_at_px"] * self.erases),
            *(["grid_ratio", "grid_px", "grid_angle", "grid_x", "grid_y"] * self.grids),
        )


def draw(augment: Augment, seed: int, step: int, n: int, size_px: int) -> dict[str, np.ndarray]:
    """The inputs that the graph takes beside n images, a pure function of the arguments.

    matrix [n, 3, 3] float32: pixel of the result -> pixel of the image; blur_sigma_px [n] float32,
    blur_window_px [n] int32: 1 where an image is not blurred, the faster; gain, shift [n] float32:
    tone -> gain x tone + 255 shift; noise [n, H, W] int8, to be multiplied by noise_gain [n]
    float32; erase_at_px, erase_size_px [n, 2] float32: (y, x); grid_ratio [n] float32: side of a
    square / distance of the squares, grid_px [n] int32 (GridMask, Chen et al. 2020, sec. 3.2),
    grid_angle [n] radians, grid_x, grid_y [n] px. What the augmentation leaves out is left out.
    """
    if not augment.inputs:
        return {}
    rng = np.random.default_rng([seed, step])
    # everything is drawn, whatever is in use: switching one step off leaves the others as they were
    unit = rng.random((16, n))
    noise_at = rng.integers(0, _NOISE_VALUES - size_px * size_px + 1, n)
    box, grid = rng.random((4, n)), rng.random((6, n))
    both = 2 * unit - 1
    inputs: dict[str, np.ndarray] = {}
    if augment.moves:
        inputs["matrix"] = _matrices(augment, both[[0, 1, 2, 3, 4, 5, 14, 15]], size_px)
    if augment.blurs:
        low = min(0.3, augment.blur_sigma_px)
        sigma = low + (augment.blur_sigma_px - low) * unit[6]
        blurred = unit[7] < augment.blur_probability
        inputs["blur_sigma_px"] = np.where(blurred, sigma, SHARP_PX)
        inputs["blur_window_px"] = np.where(blurred, _BLUR_WINDOW_PX, 1)
    if augment.tones:
        gain, contrast = 1 - augment.fade * unit[8], 1 + augment.contrast * unit[9]
        # contrast lowers the paper's tone below 0, where it is cut off; brightness may use that
        # room up but not lift the paper above 0
        low = 127.5 * (1 - contrast)
        shift = low + np.minimum(augment.brightness * both[10], -low)
        inputs["gain"], inputs["shift"] = gain * contrast, gain * shift / 255
    if augment.noises:
        sigma = augment.noise_sigma * unit[11] * (unit[12] < augment.noise_probability)
        windows = np.lib.stride_tricks.sliding_window_view(_NOISE, size_px * size_px)
        inputs["noise"] = windows[noise_at].reshape(n, size_px, size_px)
        inputs["noise_gain"] = sigma / _NOISE_SIGMA
    if augment.erases:
        side = 4 + max(augment.erase_px - 4, 0) * box[:2]
        side = np.floor(side) * (unit[13] < augment.erase_probability)
        inputs["erase_size_px"] = side.T
        inputs["erase_at_px"] = np.floor(box[2:] * (size_px - side)).T
    if augment.grids:
        share = augment.grid_share * grid[0] * (grid[1] < augment.grid_probability)
        low = min(8.0, augment.grid_px)
        tile = np.floor(low + (augment.grid_px - low) * grid[2])
        # squares nearer to each other than two pixels are no grid: they cover all or nothing
        share, tile = np.where(tile < 2, 0.0, share), np.maximum(tile, 2)
        inputs["grid_ratio"], inputs["grid_px"] = np.sqrt(share), tile
        inputs["grid_angle"] = grid[3] * np.pi / 2
        inputs["grid_x"], inputs["grid_y"] = grid[4] * tile, grid[5] * tile
    types = {"noise": np.int8, "grid_px": np.int32, "blur_window_px": np.int32}
    return {
        name: np.ascontiguousarray(inputs[name], types.get(name, np.float32))
        for name in augment.inputs
    }


def _matrices(augment: Augment, both: np.ndarray, size_px: int) -> np.ndarray:
    """[8, n] -1..1 -> [n, 3, 3]: turn x slant x stretch about the middle, tilt, move; inverted."""
    angle, slant = (
        np.radians(augment.rotation_deg) * both[0],
        np.radians(augment.shear_deg) * both[1],
    )
    size, aspect = np.exp(augment.scale * both[2]), np.exp(augment.aspect * both[3])
    cos, sin = np.cos(angle), np.sin(angle)
    forward = np.zeros((both.shape[1], 3, 3))
    forward[:, 0, 0], forward[:, 0, 1] = cos, cos * np.tan(slant) - sin
    forward[:, 1, 0], forward[:, 1, 1] = sin, sin * np.tan(slant) + cos
    forward[:, :2, :2] *= np.stack([size * aspect, size / aspect], 1)[:, None, :]
    forward[:, 2, 2] = 1
    middle = size_px / 2  # the coordinates of a pixel are those of its middle: 0.5, 1.5, ...
    tilt = np.repeat(np.eye(3)[None], len(forward), 0)
    tilt[:, 2, :2] = augment.perspective / middle * both[6:8].T
    there, back = np.eye(3), np.repeat(np.eye(3)[None], len(forward), 0)
    there[:2, 2] = -middle
    back[:, :2, 2] = middle + augment.translate_px * both[4:6].T
    inverse = np.linalg.inv(back @ tilt @ forward @ there)
    return inverse / inverse[:, 2:, 2:]


# read at a random place for each image; the values never change
_NOISE = (
    (np.random.default_rng(0).standard_normal(_NOISE_VALUES, np.float32) * _NOISE_SIGMA)
    .round()
    .clip(-128, 127)
    .astype(np.int8)
)
