"""Fuzzes what reads strangers' bytes, with the branches that are reached as the guide (atheris).

    python tests/run_fuzz.py importer --seconds 60      also: fonts, service
    python tests/run_fuzz.py importer --keep runs/fuzz   goes on from what earlier runs reached
    python tests/run_fuzz.py importer --write-seeds     makes the whole files that it starts from

A finding is whatever is no answer, no InputError and no 4xx: another error, a crash, a case over
--each-s, a process over --memory-mib. It is kept in tests/fuzz/corpus/<target>/ as found-*, and
tests/test_fuzz_corpus.py tries it from then on; the exit code is not 0, nor is it without atheris.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TARGETS = ("importer", "fonts", "service")
CORPUS = Path(__file__).resolve().parent / "fuzz" / "corpus"
MAX_BYTES = 16_384  # of a case: enough for every seed
GUIDES = ("synth", "classifier", "flask", "werkzeug", "PIL", "zipfile", "tarfile")


def fuzz(target: str, seconds: int, memory_mib: int, each_s: int, work: Path) -> None:
    """Does not return: libFuzzer ends the process. What reaches new branches goes to `work`."""
    import atheris

    with atheris.instrument_imports(include=GUIDES):
        module = importlib.import_module(f"fuzz.{target}")
        from bad_cases import outcome

    def one(data: bytes) -> None:
        outcome(module.case, data)

    flags = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={memory_mib}",
        f"-timeout={each_s}",
        f"-max_len={MAX_BYTES}",
        f"-artifact_prefix={CORPUS / target}/found-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, str(work), str(CORPUS / target)], one)
    atheris.Fuzz()


def write_seeds(target: str) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("seed-*"):
        old.unlink()
    for name, data in importlib.import_module(f"fuzz.{target}").seeds():
        if len(data) <= MAX_BYTES:
            (folder / f"seed-{name}").write_bytes(data)
    print(f"{len(list(folder.glob('seed-*')))} seeds in {folder}")


@contextmanager
def working_folder(keep: Path | None, target: str) -> Iterator[Path]:
    """Where libFuzzer reads and adds cases beside the corpus: kept, or gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    (keep / target).mkdir(parents=True, exist_ok=True)
    yield keep / target


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--memory-mib", type=int, default=2048, help="of the whole process")
    parser.add_argument("--each-s", type=int, default=10, help="of one case")
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder for the cases that reach something new, one of each: a later run starts from "
        "them too; default: they are dropped",
    )
    parser.add_argument("--write-seeds", action="store_true")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write_seeds:
        write_seeds(args.target)
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed (pip install -e .[fuzz]): nothing was tried", file=sys.stderr
        )
        return 1
    if args.work:
        fuzz(args.target, args.seconds, args.memory_mib, args.each_s, args.work)
    before = set((CORPUS / args.target).glob("found-*"))
    # in a process of its own, for libFuzzer does not come back; and no bar for each import
    with working_folder(args.keep, args.target) as work:
        held = len(list(work.iterdir()))
        line = [sys.executable, *sys.argv, "--work", str(work)]
        code = subprocess.run(line, env={**os.environ, "TQDM_DISABLE": "1"}).returncode
        reached = len(list(work.iterdir())) - held
    found = sorted(set((CORPUS / args.target).glob("found-*")) - before)
    print(f"{args.target}: {len(found)} findings, {reached} cases that reached something new")
    for path in found:
        print(f"  {path}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
