"""The OpenAPI description of the routes, with the limits in force."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from classifier.serve.limits import Limits
from classifier.serve.reading import MAX_FIELD, MAX_TOP

HEALTH = ("status", "model", "characters", "alphabet", "weights", "precision")  # /healthz tells


def describe(limits: Limits) -> dict[str, Any]:
    """The document that stands at /openapi.json."""
    image = {"type": "string", "description": "the bytes of an image file, in base64"}
    top = {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": 5}
    upload = {"type": "string", "format": "binary"}
    keep = {
        "type": "boolean",
        "default": True,
        "description": "false: the answer is not kept, even where the service keeps answers",
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Inkfill",
            "version": _version(),
            "description": (
                "Reads handwritten characters, and says when an image shows none of its alphabet. "
                "PNG, JPEG, JPEG 2000, BMP, GIF, TIFF, WebP and PPM, any size, mode and "
                "polarity. "
                f"Limits: {limits.max_body_bytes} bytes a request, {limits.max_pixels} pixels an "
                f"image, {limits.max_images} images a request, {limits.max_requests} requests at "
                f"once, {limits.receive_s:g} s to send one, {limits.deadline_s:g} s to answer it."
            ),
        },
        "paths": {
            "/v1/predict": {
                "post": {
                    "summary": "One image or many: labels, confidences, the other score",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "multipart/form-data": {
                                "schema": _object(
                                    {
                                        "image": {"type": "array", "items": upload},
                                        "top": top,
                                        "keep": keep,
                                    },
                                    ["image"],
                                )
                            },
                            "application/json": {
                                "schema": _object(
                                    {
                                        "image": image,
                                        "images": {
                                            "type": "array",
                                            "items": image,
                                            "minItems": 1,
                                            "maxItems": limits.max_images,
                                        },
                                        "top": top,
                                        "keep": keep,
                                    }
                                ),
                                "example": {"images": ["iVBORw0KGgo..."], "top": 5},
                            },
                        },
                    },
                    "responses": _answers(_ref("Predictions"), 400, 413, 415, 503),
                }
            },
            "/inference": {
                "post": {
                    "summary": "One image, as the E.SUN competition of 2021 asked",
                    "requestBody": _json_body(_ref("Call")),
                    "responses": _answers(_ref("Answer"), 400, 413, 503),
                }
            },
            "/v1/nearest": {
                "post": {
                    "summary": "The rendered glyphs most like one image",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "multipart/form-data": {
                                "schema": _object({"image": upload}, ["image"])
                            },
                            "application/json": {"schema": _object({"image": image}, ["image"])},
                        },
                    },
                    "responses": _answers(_ref("Glyphs"), 202, 400, 413, 415, 503),
                }
            },
            "/healthz": {
                "get": {
                    "summary": "Whether it answers, and by which model",
                    "responses": {
                        "200": _content("it answers", _ref("Health")),
                        "503": _content("it is stopping", _ref("Health")),
                    },
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Counters and times for Prometheus",
                    "responses": {"200": {"description": "text", "content": {"text/plain": {}}}},
                }
            },
            "/openapi.json": {
                "get": {"summary": "This description", "responses": _answers({"type": "object"})}
            },
            "/docs": {"get": {"summary": "This description to read", "responses": _page()}},
            "/": {"get": {"summary": "A page to write on", "responses": _page()}},
            "/labels.css": {
                "get": {
                    "summary": "Fonts for that page, of the alphabet's characters",
                    "responses": {
                        "200": {"description": "style rules", "content": {"text/css": {}}},
                        "202": {"description": "not yet: the fonts are being cut"},
                    },
                }
            },
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}
    moment = {"type": "integer", "description": "seconds since 1970"}
    count = {"type": "integer", "description": "of the alphabet"}
    one = {"char": text, "confidence": number}
    prediction = {
        "name": {"type": "string", "description": "the file's name, or its number"},
        "id": {"type": "string", "description": "what a kept answer is called"},
        "label": {"type": "string", "description": "a character of the alphabet, or other"},
        "confidence": number,
        "other": {**number, "description": "the higher, the more it looks like nothing known"},
        "top": {"type": "array", "items": _object(one, list(one))},
    }
    retry = {"type": "integer", "description": "retries left to the caller"}
    call = {"esun_uuid": text, "esun_timestamp": moment, "image": text, "retry": retry}
    answer = {
        "esun_uuid": text,
        "server_uuid": text,
        "answer": {"type": "string", "description": "the character, or isnull for other"},
        "server_timestamp": moment,
    }
    glyph = {
        "char": text,
        "font": text,
        "likeness": number,
        "png": {"type": "string", "description": "a PNG file in base64"},
    }
    return {
        "Predictions": _object(
            {"predictions": {"type": "array", "items": _object(prediction, list(prediction))}},
            ["predictions"],
        ),
        "Call": _object(call, ["esun_uuid", "image"]),
        "Answer": _object(answer, list(answer)),
        "Glyphs": _object(
            {"glyphs": {"type": "array", "items": _object(glyph, list(glyph))}}, ["glyphs"]
        ),
        "Health": _object({name: text for name in HEALTH} | {"characters": count}, list(HEALTH)),
        "Error": _object({"error": {"type": "string", "description": "the reason"}}, ["error"]),
    }


_REASONS = {
    202: "not yet: the glyphs are being drawn, which the first question sets off",
    400: "the request is wrong; the reason says where",
    413: (
        "too many bytes, pixels or images, or in a form a field, that is no file, of more than "
        f"{MAX_FIELD} characters"
    ),
    415: "neither multipart/form-data nor application/json",
    503: "too many requests, or no time left; try again after Retry-After seconds",
}


def _answers(schema: dict[str, Any], *more: int) -> dict[str, Any]:
    found = {"200": _content("the answer", schema)}
    for status in more:
        said = _ref("Error") if status >= 400 else schema
        found[str(status)] = _content(_REASONS[status], said)
    return found


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _page() -> dict[str, Any]:
    return {"200": {"description": "a page", "content": {"text/html": {}}}}


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return found


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _version() -> str:
    try:
        return version("inkfill")
    except PackageNotFoundError:  # run from its folder, as in the container image
        return "0"
