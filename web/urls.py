from __future__ import annotations

from django.urls import path

from web import connection, jobs, room, rooms, views

app_name = "web"

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("wall/", views.wall, name="wall"),
    path("inbox/", views.inbox_page, name="inbox"),
    path("inbox/read/", views.mark_all, name="mark_all"),
    path("inbox/<int:notification_id>/", views.inbox_page, name="notification"),
    path("inbox/<int:notification_id>/mark/", views.mark, name="mark"),
    path("jobs/", jobs.jobs_page, name="jobs"),
    path("jobs/start/<str:name>/", jobs.job_start, name="job_start"),
    path("jobs/<uuid:job_id>/", jobs.job_page, name="job"),
    path("jobs/<uuid:job_id>/cancel/", jobs.job_cancel, name="job_cancel"),
    path("jobs/<uuid:job_id>/retry/", jobs.job_retry, name="job_retry"),
    path("jobs/<uuid:job_id>/log.txt", jobs.job_log, name="job_log"),
    path("jobs/<uuid:job_id>/files/<int:file_id>/", jobs.job_file, name="job_file"),
    path("rooms/", rooms.rooms_page, name="rooms"),
    path("rooms/new/", rooms.room_new, name="room_new"),
    path("rooms/direct/", rooms.room_direct, name="room_direct"),
    path("rooms/search/", rooms.room_search, name="room_search"),
    path("rooms/emoji.json", room.shortcodes, name="shortcodes"),
    path("rooms/<int:room_id>/", room.room_page, name="room"),
    path("rooms/<int:room_id>/at/<int:message_id>/", room.room_page, name="room_at"),
    path("rooms/<int:room_id>/post/", room.room_post, name="room_post"),
    path("rooms/<int:room_id>/join/", room.room_join, name="room_join"),
    path("rooms/<int:room_id>/settings/", rooms.room_settings, name="room_settings"),
    path("rooms/<int:room_id>/involve/", rooms.room_involve, name="room_involve"),
    path("rooms/<int:room_id>/member/", rooms.room_member, name="room_member"),
    path("rooms/<int:room_id>/leave/", rooms.room_leave, name="room_leave"),
    path("rooms/<int:room_id>/delete/", rooms.room_delete, name="room_delete"),
    path("announcements/", views.announcements_page, name="announcements"),
    path(
        "announcements/<int:announcement_id>/edit/",
        views.announcement_edit,
        name="announcement_edit",
    ),
    path(
        "announcements/<int:announcement_id>/delete/",
        views.announcement_delete,
        name="announcement_delete",
    ),
    path("settings/", views.settings_page, name="settings"),
    path("settings/sessions/<int:signin_id>/end/", views.session_end, name="session_end"),
    path("settings/keys/", views.key_create, name="key_create"),
    path("settings/keys/<int:key_id>/revoke/", views.key_revoke, name="key_revoke"),
    path("connection/", connection.compare, name="connection"),
    path("connection/ping/", connection.ping, name="connection_ping"),
    path("words.js", views.words, name="words"),
]
