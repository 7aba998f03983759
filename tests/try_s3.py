"""Stores in an S3 bucket, tried on one machine: moto's S3 server in a process, and copy_store.py in
processes of their own that send a store and fetch it three at once.

    pip install -e '.[remote]' s3fs 'moto[server]'    # in an environment of its own
    python tests/try_s3.py [--fetches 3]

No test of the suite, since s3fs and moto want many packages that nothing else here needs. What
comes back must be the same bytes; a second copy to the same place, and a fetch of what is not
there, must be refused in one line. Prints a line a check; exit code 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import numpy as np

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.store import Sample, StoreWriter

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "s3://stores"
START_S = 60


def served(port: int) -> dict[str, str]:
    """The variables by which s3fs finds the server."""
    return {
        "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.2)
    sys.exit("moto's server does not answer")


def make_store(out: Path, images: int) -> None:
    rng = np.random.default_rng(1)
    with StoreWriter(out, Canvas(), Alphabet.of("永日月"), {}) as writer:
        pictures = rng.integers(0, 256, (images, 64, 64), np.uint8)
        samples = [Sample("永日月"[i % 3], "永日月"[i % 3], "real") for i in range(images)]
        writer.append(pictures, samples)


def copies(
    environment: dict[str, str], *pairs: tuple[str | Path, str | Path]
) -> list[tuple[int, str]]:
    """Exit code and messages of copy_store.py for each pair, all at once."""
    line = [sys.executable, str(ROOT / "scripts" / "copy_store.py")]
    running = [
        subprocess.Popen(
            [*line, str(a), str(b)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for a, b in pairs
    ]
    told = [process.communicate()[0] for process in running]
    return [(process.returncode, text) for process, text in zip(running, told, strict=True)]


def same(one: Path, two: Path) -> bool:
    files = sorted(f.name for f in one.iterdir())
    return files == sorted(f.name for f in two.iterdir()) and all(
        (one / name).read_bytes() == (two / name).read_bytes() for name in files
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--fetches", type=int, default=3, help="processes that fetch at once")
    parser.add_argument("--images", type=int, default=2000, help="in the store")
    parser.add_argument("--port", type=int, default=5599)
    args = parser.parse_args()
    print(f"s3fs {version('s3fs')}, moto {version('moto')}, fsspec {version('fsspec')}")
    environment = {**os.environ, **served(args.port)}
    command = [sys.executable, "-m", "moto.server", "-p", str(args.port)]
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        try:
            wait(args.port, server)
            import s3fs

            s3fs.S3FileSystem(
                key="none", secret="none", endpoint_url=f"http://127.0.0.1:{args.port}"
            ).mkdir(BUCKET.removeprefix("s3://"))
            make_store(top / "store", args.images)
            good = True

            def check(what: str, passed: bool, told: str = "") -> None:
                nonlocal good
                good = good and passed
                print(f"{'ok  ' if passed else 'FAIL'} {what}{'' if passed else ': ' + told}")

            code, told = copies(environment, (top / "store", f"{BUCKET}/a"))[0]
            check("sent", code == 0, told)
            started = time.monotonic()
            fetched = [top / f"fetched{i}" for i in range(args.fetches)]
            found = copies(environment, *((f"{BUCKET}/a", out) for out in fetched))
            seconds = time.monotonic() - started
            for out, (code, told) in zip(fetched, found, strict=True):
                check(f"{out.name}: the same bytes", code == 0 and same(top / "store", out), told)
            print(f"     {args.fetches} fetches of {args.images} images at once: {seconds:.1f} s")
            code, told = copies(environment, (top / "store", f"{BUCKET}/a"))[0]
            check("sent again: refused", code == 2 and "there already" in told, told)
            code, told = copies(environment, (f"{BUCKET}/none", top / "none"))[0]
            refused = code == 2 and "no store" in told and not (top / "none").exists()
            check("what is not there: refused", refused, told)
        finally:
            server.terminate()
            server.wait()
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
