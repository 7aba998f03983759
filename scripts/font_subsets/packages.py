"""Packages of Debian and npm: fetched, unpacked, their versions and licences."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from font_subsets.sources import Source


def package_folder(package: str) -> str:
    """ "npm @fontsource/iansui" -> "fontsource-iansui"."""
    return package.split(" ", 1)[1].lstrip("@").replace("/", "-")


def fetch(source: Source, work: Path) -> None:
    """Fetch and unpack a package into work/<package folder>; once."""
    target = work / package_folder(source.package)
    if target.exists():
        return
    kind, name = source.package.split(" ", 1)
    part = work / f"{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if kind == "npm":
        _call(["npm", "pack", "--silent", f"{name}@{source.version}"], part)
        archive = next(part.glob("*.tgz"))
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="data")
        (part / "package").rename(target)
    else:
        _call(["apt-get", "download", name], part)
        archive = next(part.glob("*.deb"))
        # -R keeps DEBIAN/control, where the version stands
        _call(["dpkg-deb", "-R", archive.name, "unpacked"], part)
        (part / "unpacked").rename(target)
    shutil.rmtree(part)


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(
            f"{command[0]} is not installed; install it, or give the unpacked packages with --from"
        ) from None
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")


def package_version(package: str, root: Path) -> str:
    if package.startswith("npm"):
        return json.loads((root / "package.json").read_text(encoding="utf-8"))["version"]
    control = (root / "DEBIAN" / "control").read_text(encoding="utf-8")
    found = re.search(r"^Version: (\S+)$", control, re.M)
    assert found is not None  # every package states it
    return found.group(1)


def licence_text(package: str, root: Path) -> str:
    """The licence of the fonts of a package, without that of the packaging."""
    if package.startswith("npm"):
        return (root / "LICENSE").read_text(encoding="utf-8").strip()
    name = package.split(" ", 1)[1]
    text = (root / f"usr/share/doc/{name}/copyright").read_text(encoding="utf-8")
    # Debian's machine-readable form: drop the paragraphs about Debian's own files, which are not
    # here, and their GPL
    kept = [
        paragraph
        for paragraph in re.split(r"\n\s*\n", text.strip())
        if not re.match(r"(Files:\s*debian/|License:\s*(GPL|CC0))", paragraph)
    ]
    return "\n\n".join(kept)
