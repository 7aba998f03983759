"""What pyproject.toml asks for, and what the lowest versions are taken from."""

import tomllib
from itertools import chain

import pytest
from lowest import TOP, lowest
from packaging.requirements import Requirement

TEXT = (TOP / "pyproject.toml").read_text(encoding="utf-8")


def test_every_dependency_says_which_version_is_the_lowest():
    """Those of the extras too, but for the extras that an extra stands for."""
    project = tomllib.loads(TEXT)["project"]
    extras = project["optional-dependencies"].values()
    named = [Requirement(text) for text in chain(project["dependencies"], *extras)]
    named = [requirement for requirement in named if requirement.name != project["name"]]
    operators = {str(one): {bound.operator for bound in one.specifier} for one in named}
    assert not [text for text, given in operators.items() if not given & {">=", "=="}]
    bounds = dict(line.split("==") for line in lowest(TEXT))
    here = {one.name for one in named if one.marker is None or one.marker.evaluate()}
    pinned = {one.name for one in named if "==" in operators[str(one)]}
    # of the DALI wheels only one can be installed
    assert here - pinned - {"nvidia-dali-cuda120"} == bounds.keys()


def test_the_lowest_versions_are_those_named():
    text = """
[project]
name = "mine"
dependencies = ["a>=1.5,<3", "b==2.0", "nvidia-dali-cuda130>=2.0; sys_platform == 'linux'"]
[project.optional-dependencies]
more = ["mine[all]", "c>=0.1", "nvidia-dali-cuda120>=1.34", "d"]
"""
    assert lowest(text) == ["a==1.5", "c==0.1", "nvidia-dali-cuda130==2.0"]


def test_the_highest_of_several_bounds_counts_and_only_those_of_this_machine():
    text = """
[project]
name = "mine"
dependencies = ["a>=2", "a>=2.10; python_version >= '3.13'"]
[project.optional-dependencies]
one = ["c>=1.10"]
two = ["c>=1.9"]
"""
    assert lowest(text, {"python_version": "3.12"}) == ["a==2", "c==1.10"]
    assert lowest(text, {"python_version": "3.13"}) == ["a==2.10", "c==1.10"]
    bounds = dict(line.split("==") for line in lowest(TEXT, {"python_version": "3.13"}))
    assert (bounds["numpy"], bounds["scipy"]) == ("2.1", "1.14.1")  # the first with wheels for it


def test_a_text_that_is_no_project_is_an_error():
    with pytest.raises(KeyError):
        lowest("[tool]\n")
