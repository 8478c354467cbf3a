"""Model field values as JSON: which can be written, and how."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Field, Model
from django.utils.duration import duration_iso_string

from events import log

Encoder = Callable[[Any, Any], Any]


def find(model: type[Model], name: str) -> Field[Any, Any] | None:
    """The column of that name, or None when there is none."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    if not isinstance(field, Field) or field.many_to_many or not field.concrete:
        return None
    return field


def is_encodable(field: Field[Any, Any]) -> bool:
    inner = _inner(field)
    return is_encodable(inner) if inner is not None else _encoder(field) is not None


def encode(field: Field[Any, Any], value: Any) -> Any:
    """The value as JSON has it: numbers as numbers, decimals as text, moments RFC 3339, a foreign key as its key.

    Raises ValueError for a field that can't be encoded.
    """
    if value is None:
        return None
    inner = _inner(field)
    if inner is not None:
        if isinstance(value, (list, tuple)):
            return [encode(inner, item) for item in value]
        return encode(inner, value)
    encoder = _encoder(field)
    if encoder is None:
        raise ValueError(f"{field} can't be written as JSON")
    return encoder(field, value)


def _inner(field: Field[Any, Any]) -> Field[Any, Any] | None:
    """The field that says what the values are, for fields that only wrap one."""
    if isinstance(field, models.ForeignKey):
        return field.target_field
    for wrapped in ("output_field", "base_field"):  # GeneratedField; arrays of PostgreSQL
        inner = vars(field).get(wrapped)
        if isinstance(inner, Field):
            return inner
    return None


def _encoder(field: Field[Any, Any]) -> Encoder | None:
    return next((encoder for kind, encoder in _ENCODERS if isinstance(field, kind)), None)


def _integer(field: Any, value: Any) -> int:
    return int(value)


def _text(field: Any, value: Any) -> str:
    return str(value)


def _float(field: Any, value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _decimal(field: Any, value: Any) -> str:
    number = Decimal(value)
    if not number.is_finite() or field.decimal_places is None:
        return str(number)
    return format(number, f".{field.decimal_places}f")


def _json(field: Any, value: Any) -> Any:
    return json.loads(json.dumps(value, cls=field.encoder or DjangoJSONEncoder, allow_nan=False))


def _iso(field: Any, value: Any) -> str:
    return str(value.isoformat())


_ENCODERS: Final[tuple[tuple[type[Field[Any, Any]], Encoder], ...]] = (
    (models.BooleanField, lambda field, value: bool(value)),
    (models.IntegerField, _integer),
    (models.FloatField, _float),
    (models.DecimalField, _decimal),
    (models.DateTimeField, lambda field, value: log.rfc3339(value)),
    (models.DateField, _iso),
    (models.TimeField, _iso),
    (models.DurationField, lambda field, value: duration_iso_string(value)),
    (models.UUIDField, _text),
    (models.JSONField, _json),
    (models.FileField, lambda field, value: getattr(value, "name", None) or ""),
    (models.FilePathField, _text),
    (models.GenericIPAddressField, _text),
    (models.CharField, _text),
    (models.TextField, _text),
)
