"""The lowest versions that pyproject.toml allows, as pip reads constraints: for `make test-lowest`.

Only of what is named there: what those packages need in turn is pip's choice.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

TOP = Path(__file__).parents[1]


def lowest(pyproject: str, machine: Mapping[str, str] | None = None) -> list[str]:
    """The text of a pyproject.toml -> name==version of every dependency with a lower bound.

    machine: values of markers (python_version ...) in place of this machine's.
    """
    project = tomllib.loads(pyproject)["project"]
    extras = map(Requirement, (r for e in project["optional-dependencies"].values() for r in e))
    # of the DALI wheels only one can be installed: the one that is no extra
    wanted = [r for r in extras if not r.name.startswith("nvidia-dali")]
    wanted += map(Requirement, project["dependencies"])
    bounds: dict[str, list[Version]] = {}
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate(machine):
            for bound in requirement.specifier:
                if bound.operator == ">=":
                    bounds.setdefault(requirement.name, []).append(Version(bound.version))
    return sorted(f"{name}=={max(versions)}" for name, versions in bounds.items())


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest((TOP / "pyproject.toml").read_text(encoding="utf-8"))) + "\n")
