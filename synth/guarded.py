"""Whether a container can be read at all: tried in a process of its own first.

libhdf5 and LMDB believe the numbers that stand in a file. Of 1,600 files damaged at random seven
ended the process that read them (SIGBUS, SIGSEGV, an abort) and five did not come back in 10 s; no
exception tells of that. So everything in the file is read once by a process that may die of it.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from synth.errors import InputError

START_S = 300.0  # to its first sign: an interpreter and its imports, on a disk that is busy
STALL_S = 60.0  # without a sign from it, from then on
MEMORY_MIB = 2048  # more than what it has when it begins
_SIGN_EVERY_S = 1.0
_DAMAGED, _TOO_MUCH = 3, 4  # exit codes


class DamagedError(Exception):
    """What a walk finds that makes the whole file worthless."""


def require_walkable(path: Path, walk: str, stall_s: float = STALL_S) -> None:
    """`walk`: module:function, which takes the path and touches everything, yielding now and then.

    Raises InputError where the process that does so is killed, stalls or wants too much memory, or
    where the walk raises DamagedError. Other errors of the walk say nothing: who opens the file
    meets them again. Raises RuntimeError where the process does not get as far as the walk: that
    says nothing of the file, so it must not pass for one that was walked.
    """
    line = [sys.executable, "-c", "from synth.guarded import main; main()", walk, str(path)]
    top = str(Path(__file__).parents[1])
    before = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([top, *([before] if before else [])])}
    process = subprocess.Popen(
        line,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            if not _begins(process):
                raise RuntimeError(
                    f"{path}: not tried: the process for it did not start; see what "
                    f"`python -c 'import {walk.partition(':')[0]}'` says"
                )
            if not _ends(process, stall_s):
                raise InputError(f"{path}: damaged: reading it does not get on")
            code = process.wait()
        finally:
            process.kill()
    if code == _DAMAGED:
        raise InputError(f"{path}: damaged")
    if code == _TOO_MUCH:
        raise InputError(f"{path}: damaged, or it wants more than {MEMORY_MIB} MiB to be read")
    if code < 0:
        raise InputError(f"{path}: damaged: reading it ended a process ({_name(-code)})")


def _begins(process: subprocess.Popen[bytes]) -> bool:
    """Waits for the first sign. -> whether it came."""
    assert process.stdout is not None
    ready = select.select([process.stdout], [], [], START_S)[0]
    return bool(ready and os.read(process.stdout.fileno(), 1))


def _ends(process: subprocess.Popen[bytes], stall_s: float) -> bool:
    """Waits as long as it gives signs. -> whether it ended."""
    assert process.stdout is not None
    while select.select([process.stdout], [], [], stall_s)[0]:
        if not os.read(process.stdout.fileno(), 1 << 16):
            return True
    return False


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main() -> None:
    """The process that tries it: module:function and the path on its command line."""
    module, _, name = sys.argv[1].partition(":")
    walk = getattr(importlib.import_module(module), name)
    _give_sign()  # what it took until here is no fault of the file
    _bound_memory()
    try:
        _go_through(walk(Path(sys.argv[2])))
    except DamagedError:
        os._exit(_DAMAGED)
    except MemoryError:
        os._exit(_TOO_MUCH)
    except Exception:
        pass
    os._exit(0)  # what a library does when it is unloaded is not asked for


def _go_through(steps: Iterator[None]) -> None:
    last = time.monotonic()
    for _ in steps:
        now = time.monotonic()
        if now - last >= _SIGN_EVERY_S:
            _give_sign()
            last = now


def _give_sign() -> None:
    sys.stdout.write(".")
    sys.stdout.flush()


def _bound_memory() -> None:
    """And no core file. Only where the system knows such limits."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = _own_bytes() + MEMORY_MIB * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or held < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (held, hard))


def _own_bytes() -> int:
    """Writable memory of this process that is no copy of a file, as RLIMIT_DATA counts it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
