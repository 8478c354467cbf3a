"""Changing one's password, and asking for a link that does."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import views
from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm
from django.contrib.auth.models import User
from django.http import HttpResponse, HttpResponseRedirect

from accounts import access, attempts, places, resets
from accounts.sign_in import slowed, too_many_requests


class ChangeForm(PasswordChangeForm):
    """Django's; a wrong old password counts like one at sign-in: who found an open browser may not guess on."""

    wait = 0

    def __init__(self, user: User, *args: Any, address: str = "", **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self._address = address

    def clean_old_password(self) -> str:
        try:
            attempt = attempts.begin(self.user.get_username(), self._address)
        except attempts.Closed as closed:
            self.wait = closed.wait
            raise slowed(closed.wait) from None
        old: str = super().clean_old_password()
        attempts.succeed(attempt)
        return old


class PasswordChangeView(views.PasswordChangeView):
    """Django's: this browser stays signed in under another session key, every other session ends.

    Live connections hear of it only when the answer is out. A tab beside this one that is told earlier comes
    back with the old cookie, is refused, and would show "signed out" to somebody who is not.
    """

    form_class = ChangeForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "address": places.address(self.request)}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        with access.held() as tell:
            response = super().form_valid(form)
        response._resource_closers.append(tell)  # type: ignore[attr-defined]
        return response

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        return too_many_requests(super().form_invalid(form), getattr(form, "wait", 0))


class PasswordResetView(views.PasswordResetView):
    """Django's page; the mail is the worker's. Without a mail server it says whom to ask instead."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "can_mail": resets.can_mail()}

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        try:
            resets.ask(form.cleaned_data["email"], places.address(self.request))
        except resets.Slowed as refusal:
            form.add_error("email", slowed(refusal.wait))
            return too_many_requests(self.form_invalid(form), refusal.wait)
        return HttpResponseRedirect(self.get_success_url())
