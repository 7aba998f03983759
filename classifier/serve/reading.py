"""The body of a request -> the images in it. Whatever is wrong is refused with its reason."""

from __future__ import annotations

import base64
import binascii
import json
import reprlib
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.datastructures import FileStorage

from classifier.serve.limits import Limits, Refused

MAX_TOP = 100
MAX_FIELD = 1000  # characters of a form's field that is no file


@dataclass(frozen=True)
class Question:
    """What is asked about: by /v1/predict, and in the other routes' own ways."""

    names: tuple[str, ...]  # of the images: file names, or their numbers
    files: tuple[bytes, ...]  # the bytes of image files
    top: int  # how many characters to answer with, the most probable first
    keep: bool = True  # may the answer be kept, where the service keeps answers?


def read_question(request: Request, limits: Limits) -> Question:
    """multipart/form-data with files `image`, or JSON with `image` or `images` in base64."""
    if request.mimetype == "multipart/form-data":
        for _, value in request.form.items(multi=True):
            if len(value) > MAX_FIELD:  # it would be held as long as the request is answered
                raise Refused(413, f"a field of {len(value)} characters, the limit is {MAX_FIELD}")
        uploads = request.files.getlist("image")
        if not uploads:
            raise Refused(400, "no file in the field 'image'")
        names = [u.filename or str(i) for i, u in enumerate(uploads)]
        files = [_taken(u) for u in uploads]
        top = request.form.get("top", "5")
        said = request.form.get("keep", "true")
        keep: Any = {"true": True, "false": False}.get(said, said)
    elif request.mimetype == "application/json":
        body = _json(request)
        given = body.get("images", [body["image"]] if "image" in body else None)
        if not isinstance(given, list) or not given:
            raise Refused(400, "wanted 'image', or 'images' as a list that is not empty")
        names = [str(i) for i in range(len(given))]
        _require_count(len(given), limits)
        files = [_base64(x, f"image {i}") for i, x in enumerate(given)]
        top, keep = body.get("top", 5), body.get("keep", True)
    else:
        raise Refused(415, "wanted multipart/form-data or application/json")
    _require_count(len(files), limits)
    if not isinstance(keep, bool):
        raise Refused(400, f"'keep' is {reprlib.repr(keep)}, wanted true or false")
    return Question(tuple(names), tuple(files), _top(top), keep)


def read_call(request: Request) -> tuple[str, Question]:
    """The E.SUN 2021 call, whatever content type it has -> its esun_uuid, the question."""
    body = _json(request)
    for name in ("esun_uuid", "image"):
        if not isinstance(body.get(name), str):
            raise Refused(400, f"'{name}' is {_what(body, name)}, wanted a string")
    for name in ("esun_timestamp", "retry"):
        value = body.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(400, f"'{name}' is {_what(body, name)}, wanted a whole number")
    try:
        body["esun_uuid"].encode()
    except UnicodeEncodeError:  # JSON can escape it, but the answer is UTF-8
        raise Refused(400, "'esun_uuid' holds half a surrogate pair") from None
    image = _base64(body["image"], "image")
    return body["esun_uuid"], Question(("image",), (image,), 1)


def _taken(upload: FileStorage) -> bytes:
    """Its bytes, once: the form holds them as long as the request lasts, unless it is closed."""
    try:
        return upload.read()
    finally:
        upload.close()


def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused(400, f"the body is a JSON {type(body).__name__}, wanted an object")
    return body


def _base64(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise Refused(400, f"{name}: wanted base64 in a string, found {type(value).__name__}")
    if value.startswith("data:"):  # as a browser's canvas gives it
        value = value.partition(",")[2]
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"{name}: no base64 ({error})") from None


def _require_count(count: int, limits: Limits) -> None:
    if count > limits.max_images:
        raise Refused(413, f"{count} images, the limit is {limits.max_images}")


def _top(value: Any) -> int:
    try:
        top = int(value) if not isinstance(value, bool | float) else 0
    except (TypeError, ValueError):
        top = 0
    if not 1 <= top <= MAX_TOP:
        raise Refused(
            400, f"'top' is {reprlib.repr(value)}, wanted a whole number from 1 to {MAX_TOP}"
        )
    return top


def _what(body: dict[str, Any], name: str) -> str:
    return f"a {type(body[name]).__name__}" if name in body else "missing"
