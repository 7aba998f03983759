"""TFRecord files of tf.train.Example, without TensorFlow.

    image/encoded (or image)      the bytes of an image file
    image/class/text (or label)   the label, UTF-8
    image/class/label (or label)  or the class number
    inkfill/sample                exports: the row of the store

Framing: uint64 length, masked CRC-32C of it, data, masked CRC-32C of it (TensorFlow,
tensorflow/core/lib/io/record_writer.h); checked, as no other light reader does. The message is
tensorflow/core/example/example.proto, built here with protobuf. The tfrecord package was looked at
and left: it imports torch where it can, checks no CRC, and believes any length.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from synth.alphabet import clean_label
from synth.class_names import ClassNames
from synth.errors import InputError
from synth.extras import need
from synth.found import Found, Listing, parse_row, printable, relative, row_text
from synth.stored import Stored

SUFFIXES = (".tfrecord", ".tfrecords", ".tfrec")
MAX_RECORD_BYTES = 64 * 2**20
_IMAGE, _TEXT, _NUMBER, _ROW = (
    ("image/encoded", "image"),
    ("image/class/text", "label"),
    ("image/class/label", "label"),
    "inkfill/sample",
)
_MASK_DELTA = 0xA282EAD8


def list_tfrecord(
    top: Path, files: Sequence[Path], ignored_files: int, classes: ClassNames | None
) -> Listing:
    """Raises InputError where there is not one labelled image in the files."""
    example = _example_type()
    found, damaged = [], {}
    for file in files:
        name = relative(file, top)
        for number, record in enumerate(_records(file), 1):
            path = f"{name}#{number:07d}"
            if isinstance(record, str):
                damaged[printable(path)] = record
                continue
            offset, data = record
            try:
                features = _features(example, data)
                _image(features)
                label = _label(features, classes)
                told = features.get(_ROW)
                row = parse_row(told[0]) if told else None
            except InputError as error:
                damaged[printable(path)] = str(error)
                continue
            where = (file, offset, len(data))
            found.append(
                Found(printable(path), label, os.fsencode(path), len(data), where, row=row)
            )
    if not found:
        reason = next(iter(damaged.items()), (str(top), "empty"))
        raise InputError(
            f"{top}: not one labelled image in its TFRecord files; first: {reason[0]}: {reason[1]}"
        )

    def read(one: Found) -> bytes:
        file, offset, size = one.where
        with file.open("rb") as f:
            f.seek(offset)
            return _image(_features(example, f.read(size)))

    return Listing(found, read, damaged, ignored_files)


def _records(file: Path) -> Iterator[tuple[int, bytes] | str]:
    """Offset and data of each record, or what is wrong with it; a damaged length ends it."""
    left = file.stat().st_size
    with file.open("rb") as f:
        while left:
            head = f.read(12)
            length = int.from_bytes(head[:8], "little")
            left -= 16 + length
            if (
                len(head) < 12
                or left < 0
                or length > MAX_RECORD_BYTES
                or _masked_crc(head[:8]) != head[8:]
            ):
                yield "cut or damaged here; the rest of this file is left out"
                return
            offset, data = f.tell(), f.read(length)
            yield (offset, data) if _masked_crc(data) == f.read(4) else "its checksum is wrong"


def _masked_crc(data: bytes) -> bytes:
    crc = need("google_crc32c", "tfrecord").value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def _features(example: Any, data: bytes) -> dict[str, list[Any]]:
    """Name -> values; raises InputError for what is no Example."""
    message = need("google.protobuf.message", "tfrecord")
    try:
        parsed = example.FromString(data)
    except message.DecodeError:
        raise InputError("no tf.train.Example") from None
    found = {}
    for name, feature in parsed.features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind:
            found[name] = list(getattr(feature, kind).value)
    return found


def _image(features: dict[str, list[Any]]) -> bytes:
    for name in _IMAGE:
        values = features.get(name)
        if values and isinstance(values[0], bytes):
            return values[0]
    raise InputError(f"no feature {' or '.join(_IMAGE)} with an image file, but {_some(features)}")


def _label(features: dict[str, list[Any]], classes: ClassNames | None) -> str:
    for name in _TEXT:
        values = features.get(name)
        if values and isinstance(values[0], bytes):
            try:
                text = values[0].decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(f"{name} is not UTF-8") from None
            return clean_label(classes.of.get(text, text) if classes else text)
    for name in _NUMBER:
        values = features.get(name)
        if values and isinstance(values[0], int):
            if classes is None:
                raise InputError(f"{name} is a number; say what it stands for with --classes FILE")
            return classes.label(values[0])
    raise InputError(f"no feature {' or '.join(_TEXT)}, but {_some(features)}")


def _some(features: dict[str, list[Any]]) -> str:
    return ", ".join(sorted(features)[:8]) or "none"


def write_tfrecord(part: Path, images: Iterable[Stored]) -> None:
    example = _example_type()
    with part.open("wb") as f:
        for one in images:
            message = example()
            values = {
                _IMAGE[0]: one.encoded(),
                _TEXT[0]: one.row["label"].encode(),
                _ROW: row_text(one.row).encode(),
            }
            for name, value in values.items():
                message.features.feature[name].bytes_list.value.append(value)
            data = message.SerializeToString(deterministic=True)
            length = struct.pack("<Q", len(data))
            f.write(length + _masked_crc(length) + data + _masked_crc(data))


@cache
def _example_type() -> Any:
    """The class of tensorflow.Example, of the fields of example.proto and feature.proto."""
    need("google_crc32c", "tfrecord")
    descriptor = need("google.protobuf.descriptor_pb2", "tfrecord")
    pools = need("google.protobuf.descriptor_pool", "tfrecord")
    factory = need("google.protobuf.message_factory", "tfrecord")
    field = descriptor.FieldDescriptorProto
    file = descriptor.FileDescriptorProto(
        name="inkfill_example.proto", package="tensorflow", syntax="proto3"
    )

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for key, number, label, kind, of in fields:
            made.field.add(
                name=key,
                number=number,
                label=label,
                type=kind,
                type_name=f".tensorflow.{of}" if of else None,
            )
        return made

    one, many, nested = field.LABEL_OPTIONAL, field.LABEL_REPEATED, field.TYPE_MESSAGE
    lists = (
        ("BytesList", "bytes_list", field.TYPE_BYTES),
        ("FloatList", "float_list", field.TYPE_FLOAT),
        ("Int64List", "int64_list", field.TYPE_INT64),
    )
    for name, _, kind in lists:
        message(name, ("value", 1, many, kind, ""))
    feature = message(
        "Feature", *((key, i, one, nested, name) for i, (name, key, _) in enumerate(lists, 1))
    )
    feature.oneof_decl.add(name="kind")
    for member in feature.field:
        member.oneof_index = 0
    features = message("Features", ("feature", 1, many, nested, "Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=one, type=nested, type_name=".tensorflow.Feature")
    message("Example", ("features", 1, one, nested, "Features"))
    pool = pools.DescriptorPool()  # of its own: no clash with TensorFlow in the same process
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
