"""Sign-in and the first-run page; the rest of `/accounts/` is Django's own."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import setup
from accounts.sign_in import SignInForm, SignInView


class PlainSignInForm(SignInForm):
    error_messages = {
        **SignInForm.error_messages,
        "invalid_login": _("The username or the password isn’t right."),
    }


class SignIn(SignInView):
    """A hub that nobody can administer yet leads to its first-run page."""

    authentication_form = PlainSignInForm

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if setup.needed():
            return redirect("setup")
        return super().get(request, *args, **kwargs)


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    """Works until there is an administrator; then there is nothing here."""
    if not setup.needed():
        raise Http404
    form = setup.SetupForm(request.POST or None, initial={"token": request.GET.get("token", "")})
    if form.is_valid():
        user = form.save()
        if user is not None:
            login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
            return redirect("web:dashboard")
    return render(request, "web/setup.html", {"form": form})
