"""Changing one's password."""

from __future__ import annotations

from django.contrib.auth import views
from django.contrib.auth.forms import PasswordChangeForm
from django.http import HttpResponse

from accounts import access


class PasswordChangeView(views.PasswordChangeView):
    """Django's: this browser stays signed in under another session key, every other session ends.

    Live connections hear of it only when the answer is out. A tab beside this one that is told earlier comes
    back with the old cookie, is refused, and would show "signed out" to somebody who is not.
    """

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        with access.held() as tell:
            response = super().form_valid(form)
        response._resource_closers.append(tell)  # type: ignore[attr-defined]
        return response
