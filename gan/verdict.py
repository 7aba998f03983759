"""What a GAN must reach, and what it reached: five figures, each against one of another source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

READ_SEEN, READ_NEVER, RECALL, KID = 0.98, 0.95, 0.7, 0.5
WEAK_READER = 0.9  # a reader worth its name reads more of the real images
_WIDE = 35  # the first column


@dataclass(frozen=True)
class Shown:
    """One line of the table."""

    what: str
    gan: float | None  # None: not measured
    other: float | None
    of: str  # what the other one is
    wanted: str  # of their ratio, in words
    ratio: float | None  # gan by other; None: one is not measured, or the other is not above 0
    reached: bool | None  # None: there is no ratio

    @property
    def verdict(self) -> str:
        if self.gan is None or self.other is None:
            return "not measured"
        if self.reached is None:
            return "no ratio, the other one is not above 0"
        return "reached" if self.reached else "missed"


def shown(figures: dict[str, Any]) -> list[Shown]:
    """From what `gan.evaluate.evaluate` found."""
    seen, never = figures["reading"]["seen"], figures["reading"]["never"]
    features = figures["features"]
    score = figures.get("score", {})
    return [
        _at_least(
            f"read, seen characters ({seen['characters']})",
            seen["gan"],
            seen["real"],
            "real",
            READ_SEEN,
        ),
        _read_never(seen, never),
        _at_least(
            "recall", features["gan"]["recall"], features["real"]["recall"], "real split", RECALL
        ),
        _line(
            "KID to held-out real",
            features["gan"]["kid"],
            features["font"]["kid"],
            "font",
            f"under {KID}",
            lambda ratio: ratio < KID,
        ),
        _line(
            "classification accuracy score",
            score.get("gan", {}).get("accuracy"),
            score.get("font", {}).get("accuracy"),
            "font",
            "over 1",
            lambda ratio: ratio > 1,
        ),
    ]


def _read_never(seen: dict[str, Any], never: dict[str, Any]) -> Shown:
    """Real images of characters never seen are there only with a clean store that shows them; all
    that were drawn are held against real images of the seen ones otherwise."""
    by_itself = never["real"] is not None
    drawn = never["all"]["gan"]
    count = never["characters"] if by_itself else drawn["characters"]
    return _at_least(
        f"read, never seen characters ({count})",
        never["gan"] if by_itself else drawn["read"],
        never["real"] if by_itself else seen["real"],
        "real" if by_itself else "real, seen ones",
        READ_NEVER,
    )


def _at_least(what: str, gan: float | None, other: float | None, of: str, bound: float) -> Shown:
    return _line(what, gan, other, of, f"at least {bound}", lambda ratio: ratio >= bound)


def _line(
    what: str,
    gan: float | None,
    other: float | None,
    of: str,
    wanted: str,
    good: Callable[[float], bool],  # asked with the ratio
) -> Shown:
    if gan is None or other is None or other <= 0:
        return Shown(what, gan, other, of, wanted, None, None)
    return Shown(what, gan, other, of, wanted, gan / other, bool(good(gan / other)))


def table(figures: dict[str, Any]) -> str:
    """The five lines, then what else was measured."""
    lines = [f"{'':{_WIDE}}{'GAN':>9}{'':3}{'against':26}{'ratio':>7}  wanted"]
    for row in shown(figures):
        against = f"{_number(row.other)} ({row.of})"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        lines.append(
            f"{row.what:{_WIDE}}{_number(row.gan):>9}{'':3}{against:26}{ratio:>7}  "
            f"{row.wanted}: {row.verdict}"
        )
    real = figures["reading"]["seen"]["real"]
    if real is not None and real < WEAK_READER:
        lines.append(
            f"the reader itself reads only {real:.3f} of the real images: what it says about "
            "others says little; give it --reader STORE or more --reader-steps"
        )
    features = figures["features"]
    lines += ["", f"{'':{_WIDE}}{'real split':>12}{'font':>12}{'GAN':>12}"]
    for name in ("kid", "kid_std", "precision", "recall"):
        values = (_number(features[source][name]) for source in ("real", "font", "gan"))
        lines.append(f"{name.replace('_', ' '):{_WIDE}}" + "".join(f"{v:>12}" for v in values))
    for where in ("features", "pixels"):
        told = (_number(figures["gap"][source][where]) for source in ("font", "gan"))
        lines.append(
            f"{f'told from real, AUROC, {where}':{_WIDE}}{'':12}"
            + "".join(f"{v:>12}" for v in told)
        )
    lines += [_all_read(name, figures["reading"][name]["all"]) for name in ("seen", "never")]
    memorised = figures["memorised"]
    for name, text in (("gan", "GAN"), ("held_out", "held-out real")):
        found = memorised[name]
        lines.append(
            f"nearest training image, {text}: median {_number(found['median'])}, nearest "
            f"{_number(found['nearest'])} of the distance among real ones; {found['copies']} of "
            f"{found['images']} under {memorised['copy_below']}"
        )
    return "\n".join(lines)


def _all_read(name: str, found: dict[str, Any]) -> str:
    """What is read of all characters that each source has, which are not the same ones."""
    parts = (
        f"{text} {_number(found[source]['read'])} ({found[source]['characters']})"
        for source, text in (("real", "real"), ("font", "font"), ("gan", "GAN"))
    )
    return f"read, {name}, each over all characters it has: {', '.join(parts)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
