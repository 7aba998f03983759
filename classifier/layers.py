"""A network's blocks in order of depth, and layers replaced by a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from classifier.named import load_named
from synth.errors import InputError


def blocks(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters from the image to the answer, a list a block; the last one is the head.

    A block is a child of the network, or an item of a child that is a sequence. A norm that stands
    alone belongs to what stands before it.
    """
    found: list[list[nn.Parameter]] = []
    own = list(network.parameters(recurse=False))  # position embeddings and the like
    if own:
        found.append(own)
    for block in _unrolled(network):
        parameters = list(block.parameters())
        if not parameters:
            continue
        if found and all(p.ndim <= 1 for p in parameters):
            found[-1] = found[-1] + parameters
        else:
            found.append(parameters)
    return found


def _unrolled(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _unrolled(child)
        else:
            yield child


def replace_layers(network: nn.Module, replacements: Sequence[str]) -> None:
    """Puts `Class(old layer)` in the place of every layer whose name matches `pattern`.

    Each replacement reads pattern=module:Class. Names are those of `named_modules`, as in
    "body.*.gate" (fnmatch: * stands for dots as well); the module may lie in the working directory.
    Raises InputError for a pattern that matches nothing and a class that makes no layer.
    """
    for text in replacements:
        pattern, equals, spec = text.partition("=")
        if not (pattern and equals and spec):
            raise InputError(f"--replace {text!r}: not of the form pattern=module:Class")
        make = load_named(spec, f"--replace ...={spec}", "Class")
        names = [n for n, _ in network.named_modules() if n and fnmatchcase(n, pattern)]
        # a layer inside one that matches itself goes with it
        names = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
        if not names:
            some = ", ".join(n for n, _ in network.named_modules() if n)
            raise InputError(f"--replace {text!r}: no layer has such a name; there are {some}")
        for name in names:
            try:
                new = make(network.get_submodule(name))
            except Exception as error:  # a user's code: whatever it raises is told in one line
                raise InputError(
                    f"--replace {text!r}: {spec} given the layer {name}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if not isinstance(new, nn.Module):
                raise InputError(
                    f"--replace {text!r}: {spec} made {type(new).__name__}, not a torch module"
                )
            network.set_submodule(name, new)
