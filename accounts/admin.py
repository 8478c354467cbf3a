"""Other people's accounts, keys and sessions: for superusers only, whatever permissions somebody was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache

from accounts import access, invitations
from accounts.models import ApiKey, Profile, SignIn
from accounts.sign_in import AdminSignInForm

if TYPE_CHECKING:
    _ApiKeyAdmin = admin.ModelAdmin[ApiKey]
    _SignInAdmin = admin.ModelAdmin[SignIn]
    _ProfileInline = admin.StackedInline[Profile, User]
    _UserAdmin = UserAdmin[User]
else:
    _ApiKeyAdmin = _SignInAdmin = admin.ModelAdmin
    _ProfileInline = admin.StackedInline
    _UserAdmin = UserAdmin

admin.site.login_form = AdminSignInForm


class Discreet:
    """Django's history page looks for the thing first and asks about rights then: who may not see it would learn
    whether it is there."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_or_change_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        answer: HttpResponse = super().history_view(request, object_id, extra_context)  # type: ignore[misc]
        return answer


class SuperusersOnly(Discreet):
    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)


class ReadOnly(SuperusersOnly):
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ProfileInline(SuperusersOnly, _ProfileInline):
    model = Profile
    can_delete = False


class PersonAdmin(SuperusersOnly, _UserAdmin):
    change_form_template = "accounts/admin_person.html"

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        """Not on the page that adds somebody: the profile makes itself then."""
        return [ProfileInline] if obj is not None else []

    def get_urls(self) -> list[URLPattern]:
        invite = path(
            "<int:user_id>/invitation/",
            self.admin_site.admin_view(self.invitation),
            name="accounts_invitation",
        )
        return [invite, *super().get_urls()]

    @method_decorator(never_cache)
    def invitation(self, request: HttpRequest, user_id: int) -> HttpResponse:
        """A one-time link to hand over in person or by chat; made on POST only, and written to the admin's log."""
        if not _is_superuser(request):
            raise PermissionDenied
        user = get_user_model()._default_manager.filter(pk=user_id, is_active=True).first()
        if user is None:
            raise Http404
        link = ""
        if request.method == "POST":
            link = invitations.link(user)
            self.log_change(request, user, str(_("Made a one-time link to set a password.")))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "person": user,
            "link": link,
            "days": invitations.days_valid(),
            "title": _("Invitation or password reset"),
        }
        return TemplateResponse(request, "accounts/admin_invitation.html", context)


class TeamAdmin(Discreet, GroupAdmin):
    """Django's own, discreet."""


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, _ApiKeyAdmin):
    list_display = (
        *("name", "user", "prefix", "scopes"),
        *("created_at", "expires_at", "last_used_at", "revoked_at"),
    )
    list_filter = ("revoked_at",)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    exclude = ("hash",)
    actions = ("revoke",)

    @admin.action(description=_("Revoke the selected keys"))
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        live = list(keys.filter(revoked_at=None))
        for key in live:
            access.revoke(key)
        text = ngettext("%(count)d key revoked.", "%(count)d keys revoked.", len(live))
        self.message_user(request, text % {"count": len(live)}, messages.SUCCESS)


@admin.register(SignIn)
class SignInAdmin(ReadOnly, _SignInAdmin):
    list_display = ("user", "created_at", "seen_at", "ip", "agent")
    list_select_related = ("user",)
    search_fields = ("user__username", "ip")
    exclude = ("session_key",)
    actions = ("end",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The row alone would go; the session must: that is the action."""
        return False

    @admin.action(description=_("End the selected sessions"))
    def end(self, request: HttpRequest, rows: QuerySet[SignIn]) -> None:
        ended = list(rows)
        for row in ended:
            access.end(row)
        text = ngettext("%(count)d session ended.", "%(count)d sessions ended.", len(ended))
        self.message_user(request, text % {"count": len(ended)}, messages.SUCCESS)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)


if admin.site.is_registered(get_user_model()):
    admin.site.unregister(get_user_model())
admin.site.register(get_user_model(), PersonAdmin)
if admin.site.is_registered(Group):
    admin.site.unregister(Group)
admin.site.register(Group, TeamAdmin)
