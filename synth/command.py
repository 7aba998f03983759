"""What the commands share: arguments from the line or a YAML file, one-line errors, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse import ArgumentError as ParseError
from tqdm import tqdm

from synth.errors import InputError
from synth.extras import EXTRAS

if TYPE_CHECKING:
    from synth.reading import Verdict


def parser(description: str, example: str) -> ArgumentParser:
    """A parser whose --help teaches: what it does, an example, every default with its unit."""
    result = ArgumentParser(
        description=description,
        epilog=f"example: {example}",
        default_env=False,
        exit_on_error=False,
    )
    result.add_argument(
        "--config", action=ActionConfigFile, help="YAML file with any of the options below"
    )
    return result


def run(
    options: ArgumentParser,
    main: Callable[[Namespace], None],
    argv: list[str] | None = None,  # None: the command line
) -> int:
    """Parses and calls. Returns the exit code: 0 only when the output is whole, 2: wrong input."""
    try:
        args = options.parse_args(argv)
    except (ParseError, UnicodeDecodeError, RecursionError, AttributeError, IndexError) as error:
        # a --config file that is no text, or has brackets without end, `!!timestamp x` or
        # `!!int ""` in it
        line = " ".join(str(error).split()) or type(error).__name__
        _say(f"{options.prog}: {line} (see --help)")
        return 2
    try:
        main(args)
    except InputError as error:
        _say(f"{options.prog}: {error}")
        return 2
    except KeyboardInterrupt:
        _say(f"{options.prog}: stopped; the same command goes on or starts anew")
        return 130
    except OSError as error:
        # no space left, permission lost: the system's own words name the file
        _say(f"{options.prog}: {error}")
        return 1
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get(error.name or "")) is None:
            raise  # no package that one may go without
        _say(f"{options.prog}: needs {error.name}: pip install 'inkfill[{extra}]'")
        return 1
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def used(args: Namespace) -> dict[str, Any]:
    """The arguments as used, as plain JSON values, for the store or run that they made."""
    return {k: _plain(v) for k, v in vars(args).items() if k not in ("config", "__path__")}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def add_apart_from(p: ArgumentParser) -> None:
    """--apart-from STORE ..., for `synth.provenance.refuse_apart`."""
    p.add_argument(
        "--apart-from",
        type=Path,
        nargs="+",
        default=[],
        metavar="STORE",
        help="stores that are measured on, a test set, say: refused where --real holds copies of "
        "their images for training",
    )


def add_without(p: ArgumentParser, names: str = "", file: str = "") -> None:
    """--without FONTS and --without-unread FILE, for `leave_out_unread`; `names` and `file`: more
    words for their help."""
    p.add_argument(
        "--without", type=str, nargs="+", default=[], help="names of fonts to leave out" + names
    )
    p.add_argument(
        "--without-unread",
        type=Path | None,
        help="file of check_fonts.py --out: leaves out the fonts, and the strength, that are not "
        "read" + file,
    )


def leave_out_unread(args: Namespace) -> Verdict:
    """Adds the fonts that --without-unread names as not read to `args.without`, and says which.
    Raises InputError for any other file."""
    from synth.fonts import find_fonts
    from synth.reading import Verdict

    verdict = Verdict.read(args.without_unread)
    names = {f.name for f in find_fonts(args.fonts)}
    unread = [name for name in verdict.unread if name in names and name not in args.without]
    print(f"not read, left out: {' '.join(unread) or 'none'}")
    args.without = [*args.without, *unread]
    return verdict


def read_strength(verdict: Verdict, wanted: float) -> float:
    """`Verdict.strength`; says where it is not the wanted one."""
    strength = verdict.strength(wanted)
    if strength != wanted:
        print(f"strength {strength:g} in place of {wanted:g}, which is not read")
    return strength


def say_unasked(args: Namespace, verdict: Verdict | None, names: Sequence[str]) -> None:
    """Which of the fonts that are drawn with --without-unread does not judge."""
    if verdict and (unasked := [n for n in names if n not in verdict.fonts]):
        print(f"of {args.without_unread} not asked, kept: {' '.join(unasked)}", flush=True)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def progress(total: int, unit: str, description: str, done: int = 0) -> tqdm:
    """A bar with rate and time left; in a file or a pipe a line now and then, not a flood."""
    return tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=description,
        mininterval=0.2 if sys.stderr.isatty() else 15.0,
    )
