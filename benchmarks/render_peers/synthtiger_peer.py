"""SynthTIGER's layers and effects, asked for so many images a line; answers with CPU seconds.

Runs in an environment of its own and imports nothing of this project.
"""

from __future__ import annotations

import random
import sys
import time
from importlib.metadata import version

import cv2
import numpy as np
from synthtiger import components as c
from synthtiger.layers import RectLayer, TextLayer

cv2.setNumThreads(1)


def main(font: str, chars: str, size_px: int) -> None:
    shape = (c.Skew(angle=(0, 9)), c.Rotate(angle=(0, 4)))
    ink = (c.ElasticDistortion(alpha=(8, 15), sigma=(3, 4)),)
    paper = (
        c.GaussianBlur(sigma=(0.2, 0.8)),
        c.AdditiveGaussianNoise(scale=(2, 8)),
        c.Switch(c.JpegCompression(compression=(5, 55)), prob=0.15),
    )

    def sample() -> np.ndarray:
        layer = TextLayer(random.choice(chars), font, size_px)
        for effect in (*shape, *ink):
            effect.apply([layer])
        back = RectLayer((size_px, size_px), (235, 235, 235, 255))
        layer.center = back.center
        whole = (layer + back).merge()
        for effect in paper:
            effect.apply([whole])
        return whole.output(bbox=back.bbox)[:, :, 0].astype(np.uint8)

    print("synthtiger", version("synthtiger"), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        for _ in range(int(line)):
            sample()
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
