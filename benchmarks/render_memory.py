"""Peak memory of rendering into a store: it must not grow with the number of images.

The exit code is 1 where it is more than the limit, which this project set itself.

Each size runs in a process of its own; workers count too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "render_fonts.py"
LIMIT_MB = 1000
CHARS = "永國銀金龍風我的三心書車壹貳參肆伍陸捌玖拾佰仟萬億元角分整年月日號碼章"
_CODE = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    own, kids = (resource.getrusage(w).ru_maxrss for w in
                 (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(end.code or 0, own, kids)
"""


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python benchmarks/render_memory.py --images 20000 1000000")
    p.add_argument("--images", type=int, nargs="+", default=[20_000, 100_000], help="sizes to try")
    p.add_argument("--workers", type=int, default=1, help="processes")
    return p


def peak_mb(images: int, workers: int) -> tuple[float, float]:
    """-> peak of the main process, and of the largest worker, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        letters = Path(folder) / "letters.txt"
        letters.write_text("".join(f"{c}\n" for c in CHARS), "utf-8")
        known = images // 2 // len(CHARS)
        line = ["--alphabet", letters, "--out", Path(folder) / "store", "--per-class", known]
        line += ["--other", images - known * len(CHARS), "--workers", workers]
        result = subprocess.run(
            [sys.executable, "-c", _CODE, SCRIPT, *map(str, line)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        code, own, kids = map(int, result.stdout.splitlines()[-1].split())
        if code:
            raise SystemExit(f"render_fonts.py ended with {code}")
    return own / 1024, kids / 1024 if workers > 1 else 0.0


def judged(images: int, own_mb: float, worker_mb: float, workers: int) -> bool:
    """Prints one size's peaks. -> whether all processes together stay below the limit."""
    total = own_mb + worker_mb * (workers - 1)  # the main process is a worker too
    good = total < LIMIT_MB
    print(
        f"{images:10,} {own_mb:9.0f} {worker_mb:11.0f}   {'good' if good else 'MISSED'}", flush=True
    )
    return good


def main(args: Namespace) -> None:
    print(f"{'images':>10} {'main, MB':>9} {'worker, MB':>11}   limit of all: {LIMIT_MB} MB")
    # a list: every size is tried
    good = [judged(n, *peak_mb(n, args.workers), args.workers) for n in args.images]
    if not all(good):
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
