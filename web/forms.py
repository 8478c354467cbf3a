from __future__ import annotations

import zoneinfo
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import Profile, Theme
from notifications import content
from notifications.models import BODY_MAX, TITLE_MAX, Level

LANGUAGE_NAMES: Final = {"en": "English", "ko": "한국어"}

if TYPE_CHECKING:
    _ProfileForm = forms.ModelForm[Profile]
else:
    _ProfileForm = forms.ModelForm


class PreferencesForm(_ProfileForm):
    language = forms.ChoiceField(label=_("Language"), required=False)
    time_zone = forms.CharField(
        label=_("Time zone"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"list": "time-zones", "autocomplete": "off"}),
        help_text=_("Like Asia/Seoul. Empty: as this device."),
    )
    theme = forms.ChoiceField(label=_("Theme"), choices=Theme.choices)
    shortcuts = forms.BooleanField(label=_("Keyboard shortcuts"), required=False)

    class Meta:
        model = Profile
        fields = ["display_name", "language", "time_zone", "theme", "shortcuts"]
        labels = {"display_name": _("Display name")}
        help_texts = {"display_name": _("What colleagues see. Empty: your full name or username.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        languages = [(code, LANGUAGE_NAMES.get(code, name)) for code, name in settings.LANGUAGES]
        self.fields["language"].choices = [("", _("As the browser asks")), *languages]  # type: ignore[attr-defined]
        self.fields["display_name"].widget.attrs["autocomplete"] = "name"

    def clean_display_name(self) -> str:
        name = " ".join(content.TURNS.sub("", self.cleaned_data["display_name"]).split())
        return "" if content.is_blank(name) else name

    def clean_time_zone(self) -> str:
        name: str = self.cleaned_data["time_zone"].strip()
        if not name:
            return ""
        known = {zone.casefold(): zone for zone in time_zones()}
        if name.casefold() not in known:
            raise ValidationError(
                _("%(name)s is no time zone. Use one like Europe/Berlin."), params={"name": name}
            )
        return known[name.casefold()]


class AnnouncementForm(forms.Form):
    title = forms.CharField(label=_("Title"), max_length=TITLE_MAX)
    body = forms.CharField(
        label=_("Text"),
        max_length=BODY_MAX,
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    level = forms.ChoiceField(label=_("Kind"), choices=Level.choices, initial=Level.INFO)
    team = forms.ModelChoiceField(
        label=_("To"), queryset=Group.objects.none(), required=False, empty_label=_("Everybody")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].queryset = Group.objects.order_by("name")  # type: ignore[attr-defined]


class ApiKeyForm(forms.Form):
    name = forms.CharField(
        label=_("What is it for?"),
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": _("Nightly backup")}),
    )
    scopes = forms.MultipleChoiceField(
        label=_("What may it do?"), widget=forms.CheckboxSelectMultiple
    )
    expires = forms.TypedChoiceField(
        label=_("How long does it work?"),
        choices=[
            ("", _("Until it is revoked")),
            ("30", _("30 days")),
            ("90", _("90 days")),
            ("365", _("A year")),
        ],
        coerce=int,
        empty_value=None,
        required=False,
    )

    def __init__(self, *args: Any, allowed: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        words = scope_words()
        self.fields["scopes"].choices = [(scope, words.get(scope, scope)) for scope in allowed]  # type: ignore[attr-defined]


def scope_words() -> dict[str, Any]:
    return {
        "read": _("Read what I can read"),
        "publish": _("Notify people and publish events"),
        "jobs": _("Report and steer jobs"),
        "chat": _("Read and write in rooms"),
        "admin": _("Administer the hub"),
    }


@cache
def time_zones() -> list[str]:
    """Names with a region, as people know them: no Etc/…, no legacy abbreviations."""
    return ["UTC", *sorted(zone for zone in zoneinfo.available_timezones() if _is_place(zone))]


def _is_place(zone: str) -> bool:
    region = zone.partition("/")[0]
    return region in {
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    }
