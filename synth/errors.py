"""The one error that a wrong input ends in."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used: one line that says what, where and what to do."""
