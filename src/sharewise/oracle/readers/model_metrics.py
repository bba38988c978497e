"""The protocol buffer `ModelMetrics` of NAS-Bench-101, read without protobuf."""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

__all__ = ["Evaluation", "model_metrics"]

_EVALUATED = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
_LARGEST = (sys.float_info.max, sys.float_info.max, 1.0, 1.0, 1.0)
_DOUBLES = {number: place for place, number in enumerate(range(1, 6))}
Evaluation = tuple[float, ...]
"""Epoch, seconds, and accuracy on training, validation and test images."""


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of its metrics is too long")


def _messages(content: bytes) -> list[tuple[int, Any]]:
    """The fields of a protocol buffer: numbers, doubles and byte strings by field number."""
    fields, place = [], 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, place = _varint(content, place)
        elif kind == 1:
            (value,) = struct.unpack_from("<d", content, place)
            place += 8
        elif kind == 2:
            length, place = _varint(content, place)
            if place + length > len(content):
                raise ValueError("its metrics are truncated")
            value, place = content[place : place + length], place + length
        else:
            raise ValueError(f"its metrics have a field of the unknown kind {kind}")
        fields.append((number, value))
    return fields


def _evaluation(content: bytes) -> Evaluation:
    found = [math.nan] * len(_DOUBLES)
    for number, double in _messages(content):
        if number in _DOUBLES:
            if not isinstance(double, float):
                raise ValueError("an evaluation holds something that is not a number")
            found[_DOUBLES[number]] = double
    sound = [0 <= value <= largest for value, largest in zip(found, _LARGEST, strict=True)]
    if not all(sound):
        wrong = sound.index(False)
        raise ValueError(f"an evaluation lacks {_EVALUATED[wrong]}, or it is out of range ({found[wrong]})")
    return tuple(found)


def model_metrics(content: bytes) -> tuple[list[Evaluation], int, float]:
    """The evaluations, parameters and total time of a message; the time is not a number where it is not stated.

    Args:
        content: of the message.

    Raises:
        ValueError: when it is no such message.
        IndexError: when it is cut off.
        struct.error: likewise.
    """
    evaluations, parameters, total = [], None, math.nan
    for number, value in _messages(content):
        if number == 1 and isinstance(value, bytes):
            evaluations.append(_evaluation(value))
        elif number == 2 and isinstance(value, int) and value < 1 << 31:
            parameters = value
        elif number == 3 and isinstance(value, float):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"its total_time should be a finite number of seconds, got {value}")
            total = value
        else:
            raise ValueError(f"its metrics have an unexpected field {number}")
    if len(evaluations) != 3 or parameters is None:
        raise ValueError("expected three evaluations and the number of parameters")
    return evaluations, parameters, total
