"""`/accounts/`: the names are Django's own, without a namespace, as its views and the admin expect."""

from __future__ import annotations

from django.contrib.auth import views as django_views
from django.urls import path
from django.views.i18n import set_language

from accounts import passwords
from web import account_views

urlpatterns = [
    path("login/", account_views.SignIn.as_view(), name="login"),
    path("logout/", django_views.LogoutView.as_view(), name="logout"),
    path("setup/", account_views.set_up, name="setup"),
    path("language/", set_language, name="set_language"),
    path("password/change/", passwords.PasswordChangeView.as_view(), name="password_change"),
    path(
        "password/change/done/",
        django_views.PasswordChangeDoneView.as_view(),
        name="password_change_done",
    ),
    path("password/reset/", passwords.PasswordResetView.as_view(), name="password_reset"),
    path(
        "password/reset/done/",
        django_views.PasswordResetDoneView.as_view(),
        name="password_reset_done",
    ),
    path(
        "password/reset/<uidb64>/<token>/",
        django_views.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
    path(
        "password/reset/complete/",
        django_views.PasswordResetCompleteView.as_view(),
        name="password_reset_complete",
    ),
]
