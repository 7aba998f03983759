"""What a finished classifier run was trained on, and the runs that its weights came from."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from synth.errors import InputError
from synth.provenance import behind_generated, find_store, places, refuse_learned
from synth.runs import read_settings
from synth.store import Store

LIBRARY = "library"  # the source of weights that learned from photographs


def refuse_weights(source: str, real: Store, test: Store | None) -> str:
    """Raises InputError naming the first validation or test image of `real`, or image of `test`,
    that the weights `source` (a run's folder or file) learned from, or a generator of theirs.
    Returns why that cannot be told, "": it can."""
    run = _run_of(source)
    if source == LIBRARY:
        return ""
    if not (run / "model.json").is_file():
        return f"nothing says what the weights in {source} learned from"
    try:
        began, untold = began_with(run)
        stores = [*trained_on(run), *began]
        behind = [behind_generated(store) for store in stores]
    except InputError as error:
        return f"what the weights in {source} learned from cannot be told ({error})"
    for store in (*stores, *behind):
        refuse_learned(store, run, real, test)
    return f"nothing says what the weights in {untold} learned from" if untold else ""


def began_with(model: Path) -> tuple[list[Store], str]:
    """The stores of the runs that --pretrained took the weights from, one behind the other, and the
    name of weights of which nothing says what they learned from; "": there are none. Those of a
    library count as told: they learned from photographs."""
    stores: list[Store] = []
    while (named := pretrained(model)) not in (None, LIBRARY):
        try:
            model = places(str(_run_of(str(named))), "model.json", model)[0]
        except InputError:
            return stores, str(named)
        stores += trained_on(model)
    return stores, ""


def pretrained(model: Path) -> str | None:
    """What a run was told to take its first weights from."""
    return read_settings(model / "config.yaml", ["classifier"])["classifier"].get("pretrained")


def trained_on(model: Path) -> list[Store]:
    """The stores of a run, the real one first, as they were when it began. Raises InputError."""
    sources, contents = recorded(model)
    stores = []
    for source, content in zip(sources, contents, strict=True):
        as_then = partial(_is, made=source["made"], content=content)
        store = find_store(source["store"], model, as_then)
        if store.info["made"] != source["made"]:
            raise InputError(f"{store.path}: made again since the training: it is another store")
        if store.content != content:
            raise InputError(f"{store.path}: holds other images than {model} was trained on")
        store.require_unchanged()
        stores.append(store)
    return stores


def _is(store: Store, made: dict[str, Any], content: str) -> bool:
    return store.info["made"] == made and store.content == content


def recorded(model: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Of each store of a run its name and how it was made, and its content. Raises InputError."""
    card, settings = model / "model.json", model / "config.yaml"
    for file in (card, settings):
        if not file.is_file():
            raise InputError(f"{model}: no finished run (no {file.name} in it)")
    try:
        sources = json.loads(card.read_text(encoding="utf-8"))["info"]["sources"]
        contents = read_settings(settings, ["start"])["start"]["stores"]
        if len(sources) != len(contents) or not all({"store", "made"} <= set(s) for s in sources):
            raise ValueError
        return sources, contents
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{model}: does not say which stores it was trained on") from None


def _run_of(source: str) -> Path:
    """The folder of a run that is named by itself, or by its weights."""
    path = Path(source)
    return path.parent if path.name == "model.safetensors" else path
