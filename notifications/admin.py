from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from notifications import announcements, content
from notifications.errors import InvalidAnnouncement
from notifications.models import Announcement

if TYPE_CHECKING:
    AnnouncementAdminBase = admin.ModelAdmin[Announcement]
    AnnouncementFormBase = forms.ModelForm[Announcement]
else:  # Django's own classes take no parameters
    AnnouncementAdminBase = admin.ModelAdmin
    AnnouncementFormBase = forms.ModelForm


class AnnouncementForm(AnnouncementFormBase):
    class Meta:
        model = Announcement
        fields = ("title", "body", "level", "team")

    def clean_title(self) -> str:
        with _beside_its_field():
            return content.title(self.cleaned_data["title"], InvalidAnnouncement)

    def clean_body(self) -> str:
        with _beside_its_field():
            return content.body(self.cleaned_data["body"], InvalidAnnouncement)


@contextmanager
def _beside_its_field() -> Iterator[None]:
    try:
        yield
    except InvalidAnnouncement as error:
        raise forms.ValidationError(error.detail) from None


@admin.register(Announcement)
class AnnouncementAdmin(AnnouncementAdminBase):
    """Whoever may announce may do so here, and sees what they may edit; deleting goes through the watched model."""

    list_display = ["title", "level", "team", "author", "created_at", "edited_at"]
    list_filter = ["level", ("team", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["team", "author"]
    search_fields = ["title", "body"]
    form = AnnouncementForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Announcement]:
        reader: Any = request.user
        return announcements.editable_by(reader).order_by(*self.get_ordering(request) or ["-pk"])

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Announcement.DoesNotExist:  # deleted while it was edited
            gone: Any = super()  # Django's own answer, which the stubs leave out
            redirect: HttpResponse = gone._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return redirect

    def save_model(self, request: HttpRequest, obj: Announcement, form: Any, change: bool) -> None:
        parts = {name: form.cleaned_data[name] for name in ("title", "body", "level", "team")}
        if change:
            announcements.edit(obj, **parts)
        else:
            author: Any = request.user
            obj.pk = announcements.create(author, **parts).pk

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(announcements.PERMISSION)

    def has_view_permission(self, request: HttpRequest, obj: Announcement | None = None) -> bool:
        return request.user.has_perm(announcements.PERMISSION)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(announcements.PERMISSION)

    def has_change_permission(self, request: HttpRequest, obj: Announcement | None = None) -> bool:
        return request.user.has_perm(announcements.PERMISSION)

    def has_delete_permission(self, request: HttpRequest, obj: Announcement | None = None) -> bool:
        return request.user.has_perm(announcements.PERMISSION)
