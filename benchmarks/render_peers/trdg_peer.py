"""TextRecognitionDataGenerator, asked for so many images a line; answers with CPU seconds.

Runs in an environment of its own and imports nothing of this project.
"""

from __future__ import annotations

import contextlib
import sys
import time
from importlib.metadata import version

import numpy as np

with contextlib.redirect_stdout(sys.stderr):  # it prints a notice when imported
    from trdg.generators import GeneratorFromStrings


def main(font: str, chars: str, size_px: int) -> None:
    images = GeneratorFromStrings(
        list(chars),
        fonts=[font],
        language="cn",
        size=size_px,
        skewing_angle=9,
        random_skew=True,
        blur=1,
        random_blur=True,
        background_type=0,  # gaussian noise
        distorsion_type=3,  # random
        distorsion_orientation=2,
    )
    print("trdg", version("trdg"), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        for _ in range(int(line)):
            picture, _text = next(images)
            np.asarray(picture.convert("L").resize((size_px, size_px)))
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
