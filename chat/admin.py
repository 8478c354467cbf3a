from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin import ReadOnly
from chat import rooms
from chat.models import Kind, Room

if TYPE_CHECKING:
    RoomAdminBase = admin.ModelAdmin[Room]
else:  # Django's own class takes no parameters
    RoomAdminBase = admin.ModelAdmin


@admin.register(Room)
class RoomAdmin(ReadOnly, RoomAdminBase):
    """Which rooms there are, for superusers, who find here those they are not in; not what is said there, nor by whom.

    Everything else about a room has pages of its own.
    """

    list_display = ["__str__", "kind", "owner", "members", "is_archived", "created_at"]
    list_display_links = None
    list_filter = ["kind", ("archived_at", admin.EmptyFieldListFilter)]
    list_select_related = ["owner"]
    search_fields = ["name"]
    actions = ["archive", "restore"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        existing = super().get_queryset(request).filter(deleted_at=None)
        return existing.annotate(member_count=Count("memberships")).order_by("-pk")

    @admin.display(description=_("members"), ordering="member_count")
    def members(self, room: Any) -> int:
        return int(room.member_count)

    @admin.display(description=_("archived"), boolean=True)
    def is_archived(self, room: Room) -> bool:
        return room.archived_at is not None

    @admin.action(description=_("Archive"), permissions=["delete"])
    def archive(self, request: HttpRequest, chosen: QuerySet[Room]) -> None:
        self._edit(request, chosen, archived=True)

    @admin.action(description=_("Take out of the archive"), permissions=["delete"])
    def restore(self, request: HttpRequest, chosen: QuerySet[Room]) -> None:
        self._edit(request, chosen, archived=False)

    def _edit(self, request: HttpRequest, chosen: Iterable[Room], *, archived: bool) -> None:
        by: Any = request.user
        for room in chosen:
            if room.kind == Kind.DIRECT:
                self.message_user(request, gettext("A direct room stays as it is."))
            else:
                rooms.edit(room, by, archived=archived)

    def delete_model(self, request: HttpRequest, obj: Room) -> None:
        rooms.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        for room in queryset:
            rooms.delete(room)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes with a room is not listed: it is all that was said there."""
        return [str(room) for room in objs], {self.opts.verbose_name_plural: len(objs)}, set(), []
