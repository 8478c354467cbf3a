"""Forms of the rooms pages. People are named by their usernames, which a picker in the browser fills in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import profiles
from chat import people
from chat.models import NAME_MAX, TOPIC_LINE_MAX, Involvement, Kind

_BETWEEN: Final = re.compile(r"[\s,;]+")
_MOST_TYPED: Final = 20_000  # characters
KINDS: Final = (
    (Kind.OPEN, Kind.OPEN.label, gettext_lazy("Everybody may read and join.")),
    (Kind.CLOSED, Kind.CLOSED.label, gettext_lazy("Only its members know of it.")),
)
INVOLVEMENTS: Final = (
    (
        Involvement.EVERYTHING,
        gettext_lazy("Everything"),
        gettext_lazy("Each message, while a page of the hub is open."),
    ),
    (
        Involvement.MENTIONS,
        gettext_lazy("Mentions"),
        gettext_lazy("When somebody writes @ and your name."),
    ),
    (Involvement.NOTHING, gettext_lazy("Nothing"), gettext_lazy("The room is muted.")),
)


class PeopleField(forms.CharField):
    """Usernames with commas or spaces between them; its value is the accounts of active staff."""

    def __init__(self, **more: Any) -> None:
        attrs = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        super().__init__(
            widget=forms.TextInput(attrs=attrs),
            help_text=gettext_lazy("Usernames, with commas between them."),
            max_length=_MOST_TYPED,
            **more,
        )

    def to_python(self, value: Any) -> Any:
        named = list(dict.fromkeys(_usernames(super().to_python(value) or "")))
        found = people.by_username(named)
        unknown = [name for name in named if name not in found]
        if unknown:
            raise ValidationError(
                ngettext(
                    "Nobody here is called %(names)s.",
                    "Nobody here is called one of these: %(names)s.",
                    len(unknown),
                )
                % {"names": ", ".join(unknown[:10])}
            )
        return [found[name] for name in named]

    def validate(self, value: Any) -> None:
        if self.required and not value:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """They are for text."""


class _PeopleForm(forms.Form):
    def chosen(self) -> list[dict[str, Any]]:
        """Who is named in the field as it was sent, for the picker to show."""
        typed = list(_usernames(str(self["members"].value() or "")))
        found = people.by_username(typed)
        named = profiles.people(user.pk for user in found.values())
        return [named[found[name].pk] for name in dict.fromkeys(typed) if name in found]


class RoomForm(_PeopleForm):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=NAME_MAX)
    topic_line = forms.CharField(
        label=gettext_lazy("Topic"),
        required=False,
        max_length=TOPIC_LINE_MAX,
        help_text=gettext_lazy("What it is about, in a line. You can leave it empty."),
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Who may read it?"),
        choices=[(value, label) for value, label, _about in KINDS],
        initial=Kind.OPEN,
    )
    members = PeopleField(label=gettext_lazy("People to invite"), required=False)


class RoomEditForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=NAME_MAX)
    topic_line = forms.CharField(
        label=gettext_lazy("Topic"), required=False, max_length=TOPIC_LINE_MAX
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Who may read it?"),
        choices=[(value, label) for value, label, _about in KINDS],
    )


class DirectForm(_PeopleForm):
    members = PeopleField(label=gettext_lazy("Who do you want to write to?"))

    def __init__(self, *args: Any, me: User, **more: Any) -> None:
        super().__init__(*args, **more)
        self._me = me

    def clean_members(self) -> list[User]:
        others = [user for user in self.cleaned_data["members"] if user.pk != self._me.pk]
        if not others:
            raise ValidationError(_("Name somebody else than you."))
        return others


class InviteForm(_PeopleForm):
    members = PeopleField(label=gettext_lazy("Invite people"))


def _usernames(text: str) -> Iterable[str]:
    for part in _BETWEEN.split(text):
        if name := part.removeprefix("@"):
            yield name
