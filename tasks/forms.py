"""What is asked of people who start the hub's own tasks."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import resets
from tasks import files, staff_file
from tasks.tables import Format


class StaffImportForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("File"),
        help_text=gettext_lazy(
            "CSV in UTF-8. The first line names the columns: username, and any of name, email, teams (separated by semicolons) and active (yes or no). An empty cell changes nothing."
        ),
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,text/csv"}),
    )
    dry_run = forms.BooleanField(
        label=gettext_lazy("Dry run"),
        required=False,
        help_text=gettext_lazy("Writes nothing, and reports what would happen."),
    )
    invite = forms.BooleanField(
        label=gettext_lazy("Invite new people by email"),
        required=False,
        help_text=gettext_lazy(
            "Each new account with an email address is mailed a link to set a password."
        ),
    )

    def clean_file(self) -> UploadedFile[bytes]:
        """Read it whole, a piece at a time: what is wrong with it is said now, not by a job that fails."""
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        try:
            staff_file.check(file.chunks(files.PIECE))
        except staff_file.Refused as refusal:
            raise ValidationError(str(refusal)) from None
        return file

    def clean_invite(self) -> bool:
        invite: bool = self.cleaned_data["invite"]
        if invite and not resets.can_mail():
            raise ValidationError(
                _("Nobody can be invited by email: this hub has no mail server (SMTP_URL).")
            )
        return invite


class ExportForm(forms.Form):
    format = forms.ChoiceField(
        label=gettext_lazy("Format"), choices=Format.choices, initial=Format.CSV
    )
    since = forms.DateField(
        label=gettext_lazy("Since"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Only what came on this day or later; empty: everything."),
    )
