"""The licences of all that this project needs and carries: packages, what their wheels hold beside
their own code, and fonts.

Refuses a package or a font that may not be used freely in a closed product (copyleft, no commercial
use, no changes, terms of its maker's own) unless licences.toml has it with the reason; one whose
licence is unknown; and a font without its licence file. The table is of what is installed: where a
requirement is not, nothing is written.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple, Self

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
# No licence that is known by its name: only who reads it knows what it allows.
OWN_TERMS = re.compile(
    r"proprietary|licen[cs]e agreement|\bEULA\b|all rights reserved", re.IGNORECASE
)
_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
EXCEPTIONS: dict[str, str] = _TABLE["exceptions"]  # pattern of names -> why they may be used
KNOWN: dict[str, str] = _TABLE["known"]  # name -> licence that its metadata lacks
ABSENT: dict[str, str] = _TABLE["absent"]  # name -> licence; need not be installed


class Carried(NamedTuple):
    """What a wheel holds that is not its own code, and is copyleft or under its maker's terms."""

    what: str
    files: re.Pattern[str]  # their paths in the wheel
    licence: str
    reason: str  # why it may be used; "": it may not

    @classmethod
    def of(cls, row: dict[str, str]) -> Self:
        # a wheel's maker puts a digest behind the name of a library
        files = (
            row.get("files") or rf"(^|/)lib({row['libraries']})(-[0-9a-f]{{8}})*\.([\w.]+\.)?so\b"
        )
        return cls(row["what"], re.compile(files), row["licence"], row["reason"])


CARRIED = [Carried.of(row) for row in _TABLE["carried"]]


class Found(NamedTuple):
    """Of the packages: the lines of the tables, and what is wrong."""

    packages: list[tuple[str, str, str]]  # name, version, licence
    carried: dict[Carried, list[str]]  # by these packages
    exceptions: dict[str, list[str]]  # reason -> packages
    faults: list[str]
    missing: list[str]  # required, not installed, not ABSENT


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/licences.py --out docs/LICENCES.md")
    p.add_argument("--out", type=Path | None, help="table to write; default: print it")
    p.add_argument("--package", type=str, default="inkfill", help="where the requirements start")
    return p


def main(args: Namespace) -> None:
    found = packages(args.package)
    if found.missing:
        names = ", ".join(found.missing)
        raise InputError(f"required, but not installed: {names}; see make licences")
    fonts_table, faults = fonts()
    text = "\n".join([*tables(found), "", *fonts_table]) + "\n"
    if args.out:
        from synth.files import write_text

        write_text(args.out, text)
        print(f"{args.out}: {len(found.packages)} packages")
    else:
        print(text, end="")
    if faults := found.faults + faults:
        raise InputError("; ".join(faults))


def tables(found: Found) -> list[str]:
    """The lines of the packages' tables."""
    tabled = (
        (("package", "version", "licence"), found.packages),
        (
            ("carried beside their own code", "licence", "by", "why it may be used"),
            [(c.what, c.licence, ", ".join(by), c.reason) for c, by in found.carried.items()],
        ),
        (
            ("exceptions", "why they may be used"),
            [(", ".join(names), reason) for reason, names in found.exceptions.items()],
        ),
    )
    lines: list[str] = []
    for head, rows in tabled:
        lines += ["", *(f"| {' | '.join(row)} |" for row in (head, *rows))]
        lines.insert(len(lines) - len(rows), "|---" * len(head) + "|")
    return lines[1:]


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
    why = wrong(licence)
    return [f"{name}: {licence} {why}"] if why and not exception(name) else []


def wrong(licence: str) -> str:
    if COPYLEFT.search(licence):
        return "is copyleft"
    if BOUND.search(licence):
        return "forbids sale or change"
    return "is its maker's own terms" if OWN_TERMS.search(licence) else ""


def exception(name: str) -> str:
    """Why a package may be used whatever its licence says; "": there is no reason."""
    return next((why for names, why in EXCEPTIONS.items() if re.fullmatch(names, name)), "")


def packages(start: str) -> Found:
    """Everything `start` needs, with its extras, by name. Raises InputError where `start` is not
    installed."""
    found = Found([], {}, {}, [], [])
    there, absent = required(start)
    for name, by in sorted(absent.items()):
        if name in ABSENT:
            found.packages.append((name, "not installed here", ABSENT[name]))
        else:
            found.missing.append(f"{name} (for {by})")
    for name, dist in sorted(there.items()):
        licence = licence_of(dist) or KNOWN.get(name, "")
        found.packages.append((name, dist.version, licence or "unknown"))
        if not licence:
            found.faults.append(f"{name}: licence unknown")
        found.faults.extend(fault(name, licence))
        if wrong(licence) and (reason := exception(name)):
            found.exceptions.setdefault(reason, []).append(name)
        _carried(name, dist, found)
    found.packages.sort()
    return found


def _carried(name: str, dist: Distribution, found: Found) -> None:
    for one in CARRIED:
        if any(one.files.search(file.as_posix()) for file in dist.files or ()):
            if one.reason:
                found.carried.setdefault(one, []).append(name)
            else:
                found.faults.append(f"{name}: carries {one.what}, {one.licence}")


def required(start: str) -> tuple[dict[str, Distribution], dict[str, str]]:
    """What is installed of it by name, without `start` itself, and what is not, with the package
    that asks for it."""
    try:
        waiting: list[tuple[Distribution, set[str] | None]] = [(distribution(start), None)]
    except PackageNotFoundError:
        raise InputError(f"{start}: not installed") from None
    there: dict[str, Distribution] = {}
    absent: dict[str, str] = {}
    asked: dict[str, set[str]] = {}  # with which extras each was looked at
    while waiting:
        dist, extras = waiting.pop()
        name = canonicalize_name(dist.metadata["Name"])
        if extras is None:  # the start: all of its extras
            extras = set(dist.metadata.get_all("Provides-Extra") or ())
        if name in there and extras <= asked[name]:
            continue
        there[name] = dist
        extras = asked[name] = asked.get(name, set()) | extras
        for text in dist.requires or ():
            need = Requirement(text)
            marker = need.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in ("", *extras)):
                continue
            try:
                waiting.append((distribution(need.name), set(need.extras)))
            except PackageNotFoundError:
                absent[canonicalize_name(need.name)] = name
    del there[canonicalize_name(start)]
    return there, absent


def licence_of(dist: Distribution) -> str:
    """The SPDX expression, or the classifiers, or the first line of the licence field; a classifier
    that names none counts only where there is nothing else."""
    if expression := _field(dist, "License-Expression"):
        return expression
    classifiers = [
        c.rpartition(" :: ")[2]
        for c in dist.metadata.get_all("Classifier") or ()
        if c.startswith("License :: ") and not c.endswith("OSI Approved")
    ]
    lines = _field(dist, "License").strip().splitlines()
    if classifiers and not (lines and classifiers == ["Other/Proprietary License"]):
        return ", ".join(sorted(classifiers))
    return lines[0].strip()[:80] if lines else ""


def _field(dist: Distribution, name: str) -> str:
    """The first of that name, or ""."""
    return next(iter(dist.metadata.get_all(name) or ()), "")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
