"""Rendering on a Dask cluster, with the same bytes as on one machine.

Each worker has this project installed; its fonts and its code are checked against those here, since
another version draws other pictures. Chunks depend on the plan and their numbers alone, so
a worker that dies costs only time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import freetype
import numpy as np
import PIL
import scipy

from synth.errors import InputError
from synth.files import file_stamp, sha256_of
from synth.fonts import ASSETS, forget_changed
from synth.plan import Plan
from synth.render import chunks_of, render_range
from synth.store import Sample

WAIT_S = 30.0  # for the scheduler, then for the first worker
_one_at_a_time = threading.Lock()  # FreeType is not made for threads


@dataclass(frozen=True, eq=False)
class _Parcel:
    """A plan on its way to another machine."""

    plan: Plan
    own: tuple[bool, ...]  # the project's fonts, wherever the worker has them
    digests: tuple[str, ...]  # of each font file
    versions: dict[str, str]  # of what draws


def render_on(address: str, plan: Plan) -> Iterator[tuple[np.ndarray, list[Sample]]]:
    """As `synth.render.render`, on the workers of the scheduler at `address` (tcp://host:port).

    Raises InputError where there is no scheduler or worker, a worker has other fonts or other code,
    or cannot do its part.
    """
    packed = _packed(plan)
    with _connected(address) as client, _failures_told(address):
        parcel = client.scatter(packed, broadcast=True, hash=False)
        ahead = 4 * max(1, sum(client.nthreads().values()))
        waiting: deque[Any] = deque()
        for start, stop in chunks_of(plan):
            waiting.append(client.submit(_rendered, parcel, start, stop, pure=False))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _connected(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise InputError('--cluster needs Dask: pip install "inkfill[cluster]"') from None
    try:
        client = Client(address, timeout=WAIT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"--cluster {address}: no Dask scheduler there ({line})") from None
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
    except TimeoutError:
        client.close()
        raise InputError(
            f"--cluster {address}: no worker within {WAIT_S:g} s; start some with: "
            f"dask worker {address} --nthreads 1"
        ) from None
    return client


@contextmanager
def _failures_told(address: str) -> Iterator[None]:
    """Whatever ends the work there as an InputError: a worker without this project or that the
    system ended, a scheduler that is gone."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a worker's own come as they are, of any type
        line = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"--cluster {address}: the workers could not render ({line}); each needs this project "
            "installed as here and memory for it; their logs say more"
        ) from None


def _packed(plan: Plan) -> _Parcel:
    own = tuple(f.path.is_relative_to(ASSETS) for f in plan.fonts)
    digests = tuple(_digest(f.path) for f in plan.fonts)
    fonts = tuple(
        replace(f, path=f.path.relative_to(ASSETS) if ours else f.path.resolve())
        for f, ours in zip(plan.fonts, own, strict=True)
    )
    return _Parcel(replace(plan, fonts=fonts), own, digests, _versions())


def _versions() -> dict[str, str]:
    """Of all whose other version may draw other pixels."""
    named = {m.__name__: m.__version__ for m in (np, scipy, PIL, cv2)}
    named |= {"FreeType": ".".join(map(str, freetype.version())), "inkfill's code": _code()}
    return named


@lru_cache(maxsize=1)
def _code() -> str:
    """12 hex digits of this package's sources."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=1)
def _unpacked(parcel: _Parcel) -> Plan:
    here = _versions()
    for name, wanted in parcel.versions.items():
        if (there := here.get(name)) != wanted:
            raise InputError(
                f"a worker has {name} {there}, wanted {wanted}; install the same there"
            )
    fonts = []
    for font, ours, digest in zip(parcel.plan.fonts, parcel.own, parcel.digests, strict=True):
        path = ASSETS / font.path if ours else font.path
        if not path.is_file() or _digest(path) != digest:
            raise InputError(f"a worker has no {path}, or another version of it")
        fonts.append(replace(font, path=path))
    forget_changed(fonts)  # a worker may have drawn for an earlier plan
    return replace(parcel.plan, fonts=tuple(fonts))


def _digest(path: Path) -> str:
    return _digest_of(path, file_stamp(path))


@lru_cache(maxsize=256)
def _digest_of(path: Path, stamp: tuple[int, int]) -> str:
    """`stamp`: only to tell a file from one of the same name that was there before."""
    return sha256_of(path)


def _rendered(parcel: _Parcel, start: int, stop: int) -> tuple[np.ndarray, list[Sample]]:
    with _one_at_a_time:
        return render_range(_unpacked(parcel), start, stop)
