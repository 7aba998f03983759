"""The licences of all that this project needs and carries: packages and fonts.

Refuses a package or a font that may not be used freely in a closed product (copyleft, no commercial
use, no changes) unless it stands in EXCEPTIONS with the reason, one whose licence is unknown, and a
font without its licence file.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from synth.command import parser, run
from synth.errors import InputError

COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|MPL|Mozilla|EPL|EUPL|CDDL|SSPL)", re.IGNORECASE)
# Terms that keep a product from being sold, or work in it from being changed.
BOUND = re.compile(
    r"non-?commercial|\bNC\b|\bND\b|(academic|research|personal|evaluation)[- ](use|only|purpose)",
    re.IGNORECASE,
)
# Used as they are, unchanged and not linked in: what each licence asks for in that case is kept.
EXCEPTIONS = {
    "tqdm": "MPL-2.0 AND MIT: the MPL binds changes to its own files only",
    "certifi": "MPL-2.0: binds changes to its own files only",
    "hypothesis": "MPL-2.0: a test tool, and binds changes to its own files only",
    "pathspec": "MPL-2.0: of the type checker, and binds changes to its own files only",
}
# Packages whose metadata names no licence that a program can read: looked up by hand.
KNOWN = {
    "atheris": "Apache-2.0",  # its LICENSE file says so, its metadata nothing
    "cuda-toolkit": "none: holds no files, names other packages",
}


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/licences.py --out docs/LICENCES.md")
    p.add_argument("--out", type=Path | None, help="table to write; default: print it")
    p.add_argument("--package", type=str, default="inkfill", help="where the requirements start")
    return p


def main(args: Namespace) -> None:
    rows, faults = packages(args.package)
    lines = ["| package | version | licence |", "|---|---|---|"]
    lines += [f"| {name} | {version} | {licence} |" for name, version, licence in rows]
    table, more = fonts()
    faults += more
    text = "\n".join([*lines, "", *table]) + "\n"
    if args.out:
        from synth.files import write_text

        write_text(args.out, text)
        print(f"{args.out}: {len(rows)} packages")
    else:
        print(text, end="")
    if faults:
        raise InputError("; ".join(faults))


def fonts() -> tuple[list[str], list[str]]:
    """The lines of the table of the project's fonts, and what is wrong with their licences."""
    from synth.fonts import ASSETS

    lines, faults = ["| font | source | licence |", "|---|---|---|"], []
    for row in tomllib.loads((ASSETS / "fonts.toml").read_text(encoding="utf-8"))["font"]:
        lines.append(f"| {row['family']} | {row['source']} | {row['licence']} |")
        if not row["licence"] or not (ASSETS / row["licence_file"]).is_file():
            faults.append(f"font {row['file']}: no licence beside it")
        faults += fault(f"font {row['file']}", row["licence"])
    return lines, faults


def fault(name: str, licence: str) -> list[str]:
    """What keeps it out of a closed product that is sold."""
    if name in EXCEPTIONS:
        return []
    if COPYLEFT.search(licence):
        return [f"{name}: {licence} is copyleft"]
    if BOUND.search(licence):
        return [f"{name}: {licence} forbids sale or change"]
    return []


def packages(start: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Name, version and licence of everything `start` needs and has installed, with its extras, by
    name; and what is wrong with them."""
    try:
        waiting: list[tuple[Distribution, set[str] | None]] = [(distribution(start), None)]
    except PackageNotFoundError:
        raise InputError(f"{start}: not installed") from None
    seen: dict[str, Distribution] = {}
    asked: dict[str, set[str]] = {}  # with which extras each was looked at
    while waiting:
        dist, extras = waiting.pop()
        name = canonicalize_name(dist.metadata["Name"])
        if extras is None:  # the start: all of its extras
            extras = set(dist.metadata.get_all("Provides-Extra") or ())
        if name in seen and extras <= asked[name]:
            continue
        seen[name] = dist
        extras = asked[name] = asked.get(name, set()) | extras
        for text in dist.requires or ():
            need = Requirement(text)
            marker = need.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in ("", *extras)):
                continue
            try:
                waiting.append((distribution(need.name), set(need.extras)))
            except PackageNotFoundError:
                continue  # an extra that is not installed here
    rows, faults = [], []
    for name, dist in sorted(seen.items()):
        if name == canonicalize_name(start):
            continue
        licence = licence_of(dist) or KNOWN.get(name, "")
        rows.append((name, dist.version, licence or "unknown"))
        if not licence:
            faults.append(f"{name}: licence unknown")
        faults += fault(name, licence)
    return rows, faults


def licence_of(dist: Distribution) -> str:
    """The SPDX expression, or the classifiers, or the first line of the licence field."""
    if expression := _field(dist, "License-Expression"):
        return expression
    classifiers = [
        c.rpartition(" :: ")[2]
        for c in dist.metadata.get_all("Classifier") or ()
        if c.startswith("License :: ") and not c.endswith("OSI Approved")
    ]
    if classifiers:
        return ", ".join(sorted(classifiers))
    lines = _field(dist, "License").strip().splitlines()
    return lines[0].strip()[:80] if lines else ""


def _field(dist: Distribution, name: str) -> str:
    """The first of that name, or ""."""
    return next(iter(dist.metadata.get_all(name) or ()), "")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
