"""Every HTTP address that Django serves; `/ws/` and `/events/` are routed in `hub.asgi`."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from hub import status_page


def _favicon(request: HttpRequest) -> HttpResponse:
    return redirect(static("hub/favicon.svg"))


urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include("hub.api")),
    # The admin's own would let guesses of the old password pass unslowed.
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
    path("admin/hub/", admin.site.admin_view(status_page.show), name="status"),
    path("admin/", admin.site.urls),
    path("accounts/", include("web.account_urls")),
    path("favicon.ico", _favicon),  # asked for where a page names none, as the admin's do
    path("", include("web.urls")),
]

handler400 = "web.errors.bad_request"
handler403 = "web.errors.forbidden"
handler404 = "web.errors.not_found"
handler500 = "web.errors.broken"
