"""Public sets as torchvision leaves them: which files below its root, and what their classes show.

EMNIST (Cohen et al., 2017), KMNIST (Clanuwat et al., 2018) and QMNIST (Yadav and Bottou, 2019) are
idx files with class numbers; Omniglot (Lake et al., 2015) is a folder a character, which has the
alphabet's name and a number. torchvision is not needed to read them.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from synth.alphabet import OTHER
from synth.class_names import ClassNames
from synth.errors import InputError

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # the others look like capitals
_EMNIST = {  # split -> what its numbers stand for, from its mapping file
    "balanced": (0, _MERGED),
    "bymerge": (0, _MERGED),
    "byclass": (0, string.digits + string.ascii_uppercase + string.ascii_lowercase),
    "letters": (1, string.ascii_uppercase),  # capitals and small letters in one
    "digits": (0, string.digits),
    "mnist": (0, string.digits),
}
_KMNIST = "おきすつなはまやれを"
SUBSETS: dict[str, tuple[str, ...]] = {  # of each set; the first is the one meant without a word
    "EMNIST": tuple(_EMNIST),
    "KMNIST": (),
    "QMNIST": (),
    "Omniglot": ("background", "evaluation"),
}


@dataclass(frozen=True)
class PublicSet:
    """What `import_images` needs of one."""

    images: Path  # a file, or a folder of folders
    classes: ClassNames


def chosen_subset(name: str, subset: str | None) -> str | None:
    """The subset meant. Raises InputError for one that the set does not have."""
    there = SUBSETS[name]
    if subset is None:
        return there[0] if there else None
    if subset not in there:
        has = f"has {', '.join(there)}" if there else "is one whole"
        raise InputError(f"--subset {subset!r}: {name} {has}")
    return subset


def public_set(
    name: str,  # of SUBSETS
    root: Path,  # torchvision's
    subset: str | None,  # see `chosen_subset`
    test: bool,  # its test images in place of the training images; Omniglot has no such parts
    classes: str | None,  # see ClassNames.read; None: the set's own
    outside: str,  # Omniglot's folders that `classes` does not name: "error", or "other"
) -> PublicSet:
    """Raises InputError where the files are not there."""
    subset = chosen_subset(name, subset)
    given = None if classes is None else ClassNames.read(classes)
    if name == "Omniglot":
        folder = root / "omniglot-py" / f"images_{subset}"
        if not folder.is_dir():
            raise _missing(name, folder)
        return PublicSet(folder, _omniglot_names(folder, given, outside))
    part, first, chars = "test" if test else "train", 0, string.digits
    if name == "EMNIST":
        stem = f"emnist-{subset}-{part}"
        first, chars = _EMNIST[subset or ""]
    elif name == "QMNIST":
        stem = f"qmnist-{part}"
    else:
        stem, chars = ("t10k" if test else "train"), _KMNIST
    file = root / name / "raw" / f"{stem}-images-idx3-ubyte"
    own = ClassNames({str(first + i): char for i, char in enumerate(chars)})
    for there in (file, file.with_name(f"{file.name}.gz")):
        if there.is_file():
            return PublicSet(there, given or own)
    raise _missing(name, file)


def _missing(name: str, path: Path) -> InputError:
    return InputError(f"{path}: not there; --download lets torchvision fetch {name}")


def _omniglot_names(folder: Path, given: ClassNames | None, outside: str) -> ClassNames:
    """The given names, and "other" for the folders without one where that is wanted."""
    there = sorted(
        f"{alphabet.name}/{char.name}"
        for alphabet in folder.iterdir()
        if alphabet.is_dir()
        for char in alphabet.iterdir()
        if char.is_dir()
    )
    if given is None:
        raise InputError(
            f"{folder}: its folders are numbered; say what they show with --classes FILE, a line "
            "a folder, such as Greek/character01,α"
        )
    unnamed = [name for name in there if name not in given.of]
    if unnamed and outside != "other":
        raise InputError(
            f"{folder}: --classes names {len(there) - len(unnamed)} of {len(there)} folders, not "
            f"{unnamed[0]}; name it, or file what has no name under other with --outside other"
        )
    return ClassNames({**given.of, **dict.fromkeys(unnamed, OTHER)})
