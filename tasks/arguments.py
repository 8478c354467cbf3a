"""A task's form for who speaks JSON: what it asks for, and plain values as a browser would send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from django import forms

from tasks.errors import InvalidArguments

CHOICES_MOST: Final = 200
"""A field that offers more shows none: it is filled in with the value itself."""
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"", "0", "false", "no", "off"})
"""What a form field that is a box to tick may say instead of being left out."""
_TYPES: Final = (
    # Subclasses stand before what they are made of.
    (forms.BooleanField, "boolean"),
    (forms.FileField, "file"),
    ((forms.MultipleChoiceField, forms.ModelMultipleChoiceField), "choices"),
    ((forms.ChoiceField, forms.ModelChoiceField), "choice"),
    ((forms.FloatField, forms.DecimalField), "number"),
    (forms.IntegerField, "integer"),
    (forms.DateTimeField, "datetime"),
    (forms.DateField, "date"),
    (forms.TimeField, "time"),
    (forms.EmailField, "email"),
    (forms.URLField, "url"),
    (forms.JSONField, "json"),
)


def described(form: forms.Form) -> list[dict[str, Any]]:
    """Every field: `{name, label, type, required, help, choices}`."""
    return [_field(one) for one in form]


def posted(form: forms.Form, args: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values as a browser would send them, which is what forms are made to read. Raises InvalidArguments."""
    sent: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in args.items():
        kind = _type(form.fields[name]) if name in form.fields else "text"
        if value is None and name in form.fields:
            continue
        if kind == "json":
            sent[name] = json.dumps(value)
        elif kind == "file":
            wrong[name] = "is a file: send multipart/form-data"
        elif kind == "boolean":
            sent[name] = value
            if not isinstance(value, bool):
                wrong[name] = "must be true or false"
        elif kind == "choices":
            sent[name] = value
            if not isinstance(value, list) or not all(map(_is_plain, value)):
                wrong[name] = "must be a list of texts or numbers"
        elif _is_plain(value):
            sent[name] = str(value)
        else:
            sent[name] = ""
            wrong[name] = "must be a text or a number"
    if wrong:
        raise InvalidArguments(wrong)
    return sent


def without_no(form: forms.Form, data: Any) -> Any:
    """To a form, a box with any value is a ticked one. Raises InvalidArguments for what says neither yes nor no."""
    wrong: dict[str, str] = {}
    for name, field in form.fields.items():
        if _type(field) != "boolean" or isinstance(field, forms.NullBooleanField):
            continue
        value = data.get(name, "").lower()
        if value in _NO:
            data.pop(name, None)
        elif value not in _YES:
            wrong[name] = "must be true or false"
    if wrong:
        raise InvalidArguments(wrong)
    return data


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _type(field: forms.Field) -> str:
    found = (name for kinds, name in _TYPES if isinstance(field, kinds))
    return next(found, "text")


def _field(one: forms.BoundField) -> dict[str, Any]:
    return {
        "name": one.name,
        "label": str(one.label),
        "type": _type(one.field),
        "required": one.field.required,
        "help": str(one.help_text),
        "choices": _choices(one.field),
    }


def _choices(field: forms.Field) -> list[dict[str, str]] | None:
    offered = getattr(field, "choices", None)
    if offered is None:
        return None
    found: list[dict[str, str]] = []
    for value, label in offered:
        group = label if isinstance(label, (list, tuple)) else [(value, label)]
        found += [{"value": str(one), "label": str(name)} for one, name in group]
        if len(found) > CHOICES_MOST:
            return None
    return [one for one in found if one["value"]]
