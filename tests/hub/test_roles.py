"""Who gets which answer from every operation, page and admin list: the tables are what was reviewed."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any, Final

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.test import Client
from django.urls import resolve

from accounts import access
from accounts.authenticate import make_key
from accounts.models import SignIn
from chat import messages, rooms
from hub.api import api
from notifications import announcements, notify
from notifications.models import Notification
from tasks import external, files, jobs, queue
from tasks.models import State
from tests.hub.test_api import TABLE
from tests.people import PASSWORD, person
from web import account_urls
from web import urls as web_urls

pytestmark = pytest.mark.django_db(transaction=True)

LETTER = '{"to": %s, "kind": "orders.late", "title": "Late"}'
NOTICE = '{"title": "Closed", "level": "info"}'
ROOM = '{"kind": "closed", "name": "Another"}'
SAY = '{"client_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "body": "hello"}'
COUNT = '{"task": "tests.shop.tasks.%s", "args": {"shelves": 1}}'

API_ROLES = (
    "nobody", "charlie", "alice", "admin", "reader", "publisher", "operator", "revoked", "bob",
)  # fmt: skip
"""alice is in the team and owns the jobs and the rooms, where bob is too, bob may announce; reader and publisher are keys of alice's, operator is one of admin's."""
API: Final[dict[tuple[str, str, str], tuple[int, ...]]] = {
    ("GET", "/dashboard", ""):                                               (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/inbox", ""):                                                   (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("POST", "/inbox/read", '{"up_to": 1}'):                                 (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("PATCH", "/inbox/ALICES", '{"read": true}'):                            (401, 404, 200, 404, 200, 403, 403, 401, 404),
    ("PATCH", "/inbox/GONE", '{"read": true}'):                              (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("POST", "/notifications", LETTER % '{"users": ["bob"]}'):               (401, 201, 201, 201, 403, 201, 403, 401, 201),
    ("POST", "/notifications", LETTER % '{"teams": ["Warehouse"]}'):         (401, 403, 403, 201, 403, 403, 403, 401, 201),
    ("POST", "/notifications", LETTER % '{"everyone": true}'):               (401, 403, 403, 201, 403, 403, 403, 401, 201),
    ("GET", "/announcements", ""):                                           (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/announcements?topic=team.TEAM", ""):                           (401, 403, 200, 200, 200, 403, 403, 401, 403),
    ("GET", "/announcements?topic=team.GONE", ""):                           (401, 403, 403, 403, 403, 403, 403, 401, 403),
    ("GET", "/announcements?topic=user.ALICE", ""):                          (401, 403, 200, 403, 200, 403, 403, 401, 403),
    ("POST", "/announcements", NOTICE):                                      (401, 403, 403, 201, 403, 403, 403, 401, 201),
    ("PATCH", "/announcements/PUBLIC", NOTICE):                              (401, 403, 403, 200, 403, 403, 403, 401, 200),
    ("PATCH", "/announcements/TEAMS", NOTICE):                               (401, 403, 403, 200, 403, 403, 403, 401, 404),
    ("PATCH", "/announcements/GONE", NOTICE):                                (401, 403, 403, 404, 403, 403, 403, 401, 404),
    ("DELETE", "/announcements/PUBLIC", ""):                                 (401, 403, 403, 204, 403, 403, 403, 401, 204),
    ("DELETE", "/announcements/TEAMS", ""):                                  (401, 403, 403, 204, 403, 403, 403, 401, 404),
    ("DELETE", "/announcements/GONE", ""):                                   (401, 403, 403, 404, 403, 403, 403, 401, 404),
    ("GET", "/tasks", ""):                                                   (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/jobs", ""):                                                    (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("POST", "/jobs", '{"task": "no.such"}'):                                (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("POST", "/jobs", COUNT % "stocktake"):                                  (401, 201, 201, 201, 403, 403, 403, 401, 201),
    ("POST", "/jobs", COUNT % "managed"):                                    (401, 404, 404, 201, 403, 403, 403, 401, 404),
    ("GET", "/jobs/SCRIPT", ""):                                             (401, 404, 200, 200, 200, 403, 403, 401, 404),
    ("GET", "/jobs/NOJOB", ""):                                              (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("GET", "/jobs/SCRIPT/log", ""):                                         (401, 404, 200, 200, 200, 403, 403, 401, 404),
    ("GET", "/jobs/NOJOB/log", ""):                                          (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("GET", "/jobs/SCRIPT/files/FILE", ""):                                  (401, 404, 200, 200, 200, 403, 403, 401, 404),
    ("GET", "/jobs/NOJOB/files/FILE", ""):                                   (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("POST", "/jobs/SCRIPT/cancel", ""):                                     (401, 404, 200, 200, 403, 403, 403, 401, 404),
    ("POST", "/jobs/NOJOB/cancel", ""):                                      (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("POST", "/jobs/FAILED/retry", ""):                                      (401, 404, 200, 200, 403, 403, 403, 401, 404),
    ("POST", "/jobs/NOJOB/retry", ""):                                       (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("POST", "/jobs/external", '{"title": "Backup"}'):                       (401, 201, 201, 201, 403, 403, 403, 401, 201),
    ("GET", "/rooms", ""):                                                   (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("POST", "/rooms", ROOM):                                                (401, 201, 201, 201, 403, 403, 403, 401, 201),
    ("GET", "/rooms/DEN", ""):                                               (401, 404, 200, 404, 200, 403, 403, 401, 200),
    ("GET", "/rooms/HALL", ""):                                              (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/rooms/GONE", ""):                                              (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("PATCH", "/rooms/DEN", '{"name": "Other"}'):                            (401, 404, 200, 200, 403, 403, 403, 401, 403),
    ("PATCH", "/rooms/HALL", '{"name": "Other"}'):                           (401, 403, 200, 200, 403, 403, 403, 401, 403),
    ("PATCH", "/rooms/PAIR", '{"name": "Other"}'):                           (401, 404, 403, 409, 403, 403, 403, 401, 403),
    ("PATCH", "/rooms/GONE", '{"name": "Other"}'):                           (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("DELETE", "/rooms/DEN", ""):                                            (401, 404, 204, 204, 403, 403, 403, 401, 403),
    ("DELETE", "/rooms/HALL", ""):                                           (401, 403, 204, 204, 403, 403, 403, 401, 403),
    ("DELETE", "/rooms/PAIR", ""):                                           (401, 404, 403, 204, 403, 403, 403, 401, 403),
    ("DELETE", "/rooms/GONE", ""):                                           (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("PUT", "/rooms/DEN/members/charlie", ""):                               (401, 404, 200, 200, 403, 403, 403, 401, 403),
    ("PUT", "/rooms/HALL/members/charlie", ""):                              (401, 200, 200, 200, 403, 403, 403, 401, 403),
    ("PUT", "/rooms/PAIR/members/charlie", ""):                              (401, 404, 403, 409, 403, 403, 403, 401, 403),
    ("PUT", "/rooms/GONE/members/charlie", ""):                              (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("DELETE", "/rooms/DEN/members/bob", ""):                                (401, 404, 204, 204, 403, 403, 403, 401, 204),
    ("DELETE", "/rooms/HALL/members/bob", ""):                               (401, 403, 204, 204, 403, 403, 403, 401, 204),
    ("DELETE", "/rooms/PAIR/members/bob", ""):                               (401, 404, 403, 409, 403, 403, 403, 401, 409),
    ("DELETE", "/rooms/GONE/members/bob", ""):                               (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("PUT", "/rooms/DEN/involvement", '{"value": "nothing"}'):               (401, 404, 200, 404, 403, 403, 403, 401, 200),
    ("PUT", "/rooms/HALL/involvement", '{"value": "nothing"}'):              (401, 404, 200, 404, 403, 403, 403, 401, 200),
    ("PUT", "/rooms/GONE/involvement", '{"value": "nothing"}'):              (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("POST", "/rooms/DEN/read", '{"up_to": 1}'):                             (401, 404, 200, 404, 403, 403, 403, 401, 200),
    ("POST", "/rooms/HALL/read", '{"up_to": 1}'):                            (401, 200, 200, 200, 403, 403, 403, 401, 200),
    ("POST", "/rooms/GONE/read", '{"up_to": 1}'):                            (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("GET", "/rooms/DEN/messages", ""):                                      (401, 404, 200, 404, 200, 403, 403, 401, 200),
    ("GET", "/rooms/HALL/messages", ""):                                     (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/rooms/GONE/messages", ""):                                     (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("POST", "/rooms/DEN/messages", SAY):                                    (401, 404, 201, 404, 403, 403, 403, 401, 201),
    ("POST", "/rooms/HALL/messages", SAY):                                   (401, 201, 201, 201, 403, 403, 403, 401, 201),
    ("POST", "/rooms/GONE/messages", SAY):                                   (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("PATCH", "/rooms/DEN/messages/SAID", '{"body": "x"}'):                  (401, 404, 200, 404, 403, 403, 403, 401, 403),
    ("PATCH", "/rooms/DEN/messages/GONE", '{"body": "x"}'):                  (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("DELETE", "/rooms/DEN/messages/SAID", ""):                              (401, 404, 200, 200, 403, 403, 403, 401, 403),
    ("DELETE", "/rooms/DEN/messages/GONE", ""):                              (401, 404, 404, 404, 403, 403, 403, 401, 404),
    ("GET", "/search?q=x", ""):                                              (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/search?q=x&room=DEN", ""):                                     (401, 404, 200, 404, 200, 403, 403, 401, 200),
    ("GET", "/search?q=x&room=GONE", ""):                                    (401, 404, 404, 404, 404, 403, 403, 401, 404),
    ("GET", "/people", ""):                                                  (401, 200, 200, 200, 200, 403, 403, 401, 200),
    ("GET", "/people?room=DEN", ""):                                         (401, 404, 200, 404, 200, 403, 403, 401, 200),
    ("GET", "/people?room=GONE", ""):                                        (401, 404, 404, 404, 404, 403, 403, 401, 404),
    **{
        ("POST", f"/jobs{place}/{job}/{verb}", body): answers
        for place in ("", "/external")
        for verb, body in (
            ("progress", '{"done": 1}'), ("log", '{"text": "x"}'), ("heartbeat", ""), ("finish", '{"ok": true}'),
        )
        for job, answers in (
            ("SCRIPT",                                                       (401, 404, 200, 200, 403, 403, 403, 401, 404)),
            ("FAILED",                                                       (401, 404, 409, 409, 403, 403, 403, 401, 404)),
            ("NOJOB",                                                        (401, 404, 404, 404, 403, 403, 403, 401, 404)),
        )
    },
}  # fmt: skip

ROLES = ("nobody", "stranger", "charlie", "alice", "helper", "bob", "admin")
"""A stranger has an account and is no staff of the hub; helper may enter the admin and has no permission."""
OUT: Final = 401
"""Stands for being led to sign-in."""
PAGES: Final[dict[tuple[str, str, str], tuple[int, ...]]] = {
    ("GET", "/", ""):                                                        (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/wall/", ""):                                                   (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/inbox/", ""):                                                  (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/inbox/ALICES/", ""):                                           (401, 401, 404, 200, 404, 404, 404),
    ("GET", "/inbox/GONE/", ""):                                             (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/inbox/ALICES/mark/", "read=1"):                               (401, 401, 404, 302, 404, 404, 404),
    ("POST", "/inbox/read/", "up_to=1"):                                     (401, 401, 302, 302, 302, 302, 302),
    ("GET", "/jobs/", ""):                                                   (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/jobs/start/tests.shop.tasks.stocktake/", ""):                  (401, 401, 200, 200, 200, 200, 200),
    ("POST", "/jobs/start/tests.shop.tasks.stocktake/", "shelves=2"):        (401, 401, 302, 302, 302, 302, 302),
    ("GET", "/jobs/start/tests.shop.tasks.managed/", ""):                    (401, 401, 404, 404, 404, 404, 200),
    ("POST", "/jobs/start/tests.shop.tasks.managed/", "shelves=2"):          (401, 401, 404, 404, 404, 404, 302),
    ("GET", "/jobs/start/staff.import/", ""):                                (401, 401, 404, 404, 404, 404, 200),
    ("POST", "/jobs/start/staff.import/", "x=1"):                            (401, 401, 404, 404, 404, 404, 200),
    ("GET", "/jobs/start/no.such/", ""):                                     (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/jobs/SCRIPT/", ""):                                            (401, 401, 404, 200, 404, 404, 200),
    ("GET", "/jobs/NOJOB/", ""):                                             (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/jobs/SCRIPT/log.txt", ""):                                     (401, 401, 404, 200, 404, 404, 200),
    ("GET", "/jobs/NOJOB/log.txt", ""):                                      (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/jobs/SCRIPT/files/FILE/", ""):                                 (401, 401, 404, 200, 404, 404, 200),
    ("GET", "/jobs/FAILED/files/FILE/", ""):                                 (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/jobs/SCRIPT/cancel/", ""):                                     (401, 401, 404, 200, 404, 404, 200),
    ("POST", "/jobs/SCRIPT/cancel/", "x=1"):                                 (401, 401, 404, 302, 404, 404, 302),
    ("POST", "/jobs/NOJOB/cancel/", "x=1"):                                  (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/jobs/FAILED/retry/", "x=1"):                                  (401, 401, 404, 302, 404, 404, 302),
    ("POST", "/jobs/NOJOB/retry/", "x=1"):                                   (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/rooms/", ""):                                                  (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/rooms/new/", ""):                                              (401, 401, 200, 200, 200, 200, 200),
    ("POST", "/rooms/new/", "kind=closed&name=Another"):                     (401, 401, 302, 302, 302, 302, 302),
    ("GET", "/rooms/direct/", ""):                                           (401, 401, 200, 200, 200, 200, 200),
    ("POST", "/rooms/direct/", "members=alice"):                             (401, 401, 302, 422, 302, 302, 302),
    ("GET", "/rooms/search/?q=x", ""):                                       (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/rooms/search/?q=x&room=DEN", ""):                              (401, 401, 404, 200, 404, 200, 404),
    ("GET", "/rooms/emoji.json", ""):                                        (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/rooms/DEN/", ""):                                              (401, 401, 404, 200, 404, 200, 404),
    ("GET", "/rooms/HALL/", ""):                                             (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/rooms/GONE/", ""):                                             (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/rooms/DEN/at/SAID/", ""):                                      (401, 401, 404, 200, 404, 200, 404),
    ("GET", "/rooms/HALL/at/SAID/", ""):                                     (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/post/", "body=hello"):                              (401, 401, 404, 302, 404, 302, 404),
    ("POST", "/rooms/HALL/post/", "body=hello"):                             (401, 401, 302, 302, 302, 302, 302),
    ("POST", "/rooms/GONE/post/", "body=hello"):                             (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/join/", "x=1"):                                     (401, 401, 404, 302, 404, 302, 404),
    ("POST", "/rooms/HALL/join/", "x=1"):                                    (401, 401, 302, 302, 302, 302, 302),
    ("POST", "/rooms/GONE/join/", "x=1"):                                    (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/rooms/DEN/settings/", ""):                                     (401, 401, 404, 200, 404, 200, 404),
    ("GET", "/rooms/HALL/settings/", ""):                                    (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/rooms/GONE/settings/", ""):                                    (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/settings/", "archived=1"):                          (401, 401, 404, 302, 404, 403, 404),
    ("POST", "/rooms/HALL/settings/", "archived=1"):                         (401, 401, 403, 302, 403, 403, 302),
    ("POST", "/rooms/GONE/settings/", "archived=1"):                         (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/involve/", "involvement=nothing"):                  (401, 401, 404, 302, 404, 302, 404),
    ("POST", "/rooms/HALL/involve/", "involvement=nothing"):                 (401, 401, 404, 302, 404, 302, 404),
    ("POST", "/rooms/GONE/involve/", "involvement=nothing"):                 (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/member/", "members=charlie"):                       (401, 401, 404, 302, 404, 403, 404),
    ("POST", "/rooms/HALL/member/", "members=charlie"):                      (401, 401, 403, 302, 403, 403, 302),
    ("POST", "/rooms/GONE/member/", "members=charlie"):                      (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/rooms/DEN/leave/", ""):                                        (401, 401, 404, 200, 404, 200, 404),
    ("GET", "/rooms/HALL/leave/", ""):                                       (401, 401, 302, 200, 302, 200, 302),
    ("GET", "/rooms/GONE/leave/", ""):                                       (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/leave/", "x=1"):                                    (401, 401, 404, 302, 404, 302, 404),
    ("POST", "/rooms/HALL/leave/", "x=1"):                                   (401, 401, 302, 302, 302, 302, 302),
    ("POST", "/rooms/GONE/leave/", "x=1"):                                   (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/rooms/DEN/delete/", ""):                                       (401, 401, 404, 200, 404, 403, 404),
    ("GET", "/rooms/HALL/delete/", ""):                                      (401, 401, 403, 200, 403, 403, 200),
    ("GET", "/rooms/GONE/delete/", ""):                                      (401, 401, 404, 404, 404, 404, 404),
    ("POST", "/rooms/DEN/delete/", "x=1"):                                   (401, 401, 404, 302, 404, 403, 404),
    ("POST", "/rooms/HALL/delete/", "x=1"):                                  (401, 401, 403, 302, 403, 403, 302),
    ("POST", "/rooms/GONE/delete/", "x=1"):                                  (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/announcements/", ""):                                          (401, 401, 200, 200, 200, 200, 200),
    ("POST", "/announcements/", "title=Closed&level=info"):                  (401, 401, 403, 403, 403, 302, 302),
    ("GET", "/announcements/PUBLIC/edit/", ""):                              (401, 401, 404, 404, 404, 200, 200),
    ("GET", "/announcements/TEAMS/edit/", ""):                               (401, 401, 404, 404, 404, 404, 200),
    ("POST", "/announcements/PUBLIC/edit/", "title=Closed&level=info"):      (401, 401, 404, 404, 404, 302, 302),
    ("POST", "/announcements/TEAMS/edit/", "title=Closed&level=info"):       (401, 401, 404, 404, 404, 404, 302),
    ("GET", "/announcements/PUBLIC/delete/", ""):                            (401, 401, 404, 404, 404, 200, 200),
    ("POST", "/announcements/PUBLIC/delete/", "x=1"):                        (401, 401, 404, 404, 404, 302, 302),
    ("POST", "/announcements/TEAMS/delete/", "x=1"):                         (401, 401, 404, 404, 404, 404, 302),
    ("POST", "/announcements/GONE/delete/", "x=1"):                          (401, 401, 404, 404, 404, 404, 404),
    ("GET", "/settings/", ""):                                               (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/settings/keys/", ""):                                          (401, 401, 302, 302, 302, 302, 302),
    ("POST", "/settings/keys/", "name=k&scopes=read"):                       (401, 401, 302, 302, 302, 302, 302),
    ("POST", "/settings/keys/KEY/revoke/", "x=1"):                           (401, 401, 404, 302, 404, 404, 404),
    ("POST", "/settings/sessions/SESSION/end/", "x=1"):                      (401, 401, 404, 302, 404, 404, 404),
    ("GET", "/connection/", ""):                                             (401, 401, 200, 200, 200, 200, 200),
    ("POST", "/connection/ping/", "run=a&sent_at=1"):                        (401, 401, 204, 204, 204, 204, 204),
    ("GET", "/words.js", ""):                                                (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/accounts/login/", ""):                                         (200, 200, 200, 200, 200, 200, 200),
    ("POST", "/accounts/logout/", "x=1"):                                    (401, 401, 401, 401, 401, 401, 401),
    ("GET", "/accounts/setup/", ""):                                         (404, 404, 404, 404, 404, 404, 404),
    ("POST", "/accounts/language/", "language=en"):                          (302, 302, 302, 302, 302, 302, 302),
    ("GET", "/accounts/password/change/", ""):                               (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/accounts/password/change/done/", ""):                          (401, 401, 200, 200, 200, 200, 200),
    ("GET", "/accounts/password/reset/", ""):                                (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/accounts/password/reset/done/", ""):                           (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/accounts/password/reset/MQ/no-such/", ""):                     (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/accounts/password/reset/complete/", ""):                       (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/api/v1/docs", ""):                                             (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/api/v1/openapi.json", ""):                                     (200, 200, 200, 200, 200, 200, 200),
    ("GET", "/admin/", ""):                                                  (401, 401, 401, 401, 200, 200, 200),
    ("GET", "/admin/auth/user/", ""):                                        (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/auth/user/ALICE/change/", ""):                           (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/auth/user/ALICE/invitation/", ""):                       (401, 401, 401, 401, 403, 403, 200),
    ("POST", "/admin/auth/user/ALICE/invitation/", "x=1"):                   (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/auth/group/", ""):                                       (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/hub_accounts/apikey/", ""):                              (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/hub_accounts/signin/", ""):                              (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/hub_notifications/announcement/", ""):                   (401, 401, 401, 401, 403, 200, 200),
    ("GET", "/admin/hub_notifications/announcement/PUBLIC/change/", ""):     (401, 401, 401, 401, 403, 200, 200),
    ("GET", "/admin/hub_notifications/announcement/TEAMS/change/", ""):      (401, 401, 401, 401, 403, 302, 200),
    ("GET", "/admin/hub_chat/room/", ""):                                    (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/hub_chat/room/DEN/change/", ""):                         (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/hub_chat/room/DEN/delete/", ""):                         (401, 401, 401, 401, 403, 403, 200),
    ("GET", "/admin/password_change/", ""):                                  (302, 302, 302, 302, 302, 302, 302),
}  # fmt: skip


def all_but_the_stranger(user: User) -> bool:
    return user.username != "stranger"


@pytest.fixture
def words(alice: User, bob: User, charlie: User, admin: User, settings: Any) -> dict[str, str]:
    """What stands for what in the tables."""
    settings.HUB_IS_STAFF = f"{__name__}.all_but_the_stranger"
    person("stranger")
    person("helper", is_staff=True)
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(
        *Permission.objects.filter(content_type__app_label="hub_notifications")
    )
    team = Group.objects.create(name="Warehouse")
    alice.groups.add(team)
    notify(to=alice, kind="orders.late", title="For alice")
    browser = Client()
    browser.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    message = queue.pack((), {"shelves": 1}, {})
    failed = jobs.create(
        kind="tests.shop.tasks.stocktake", title="Stocktake", owner=alice, message=message
    )
    jobs.claim(failed.pk, 1, 60)
    jobs.finish(failed.pk, 1, State.FAILED, quiet=True)
    script = external.start(alice, "Backup")
    den = rooms.create(alice, "closed", "Den", members=[bob])
    said, _is_new = messages.post(alice, den.pk, uuid.uuid4(), "hello")
    with files.result(script, "report.csv", "text/csv") as report:
        report.write("a,b")
    return {
        "ALICES": str(Notification.objects.get(recipient=alice).pk),
        "ALICE": str(alice.pk),
        "PUBLIC": str(announcements.create(admin, "For everybody").pk),
        "TEAMS": str(announcements.create(admin, "For the team", team=team).pk),
        "TEAM": str(team.pk),
        "GONE": "987654",
        "KEY": str(make_key(alice, "alice's")[0].pk),
        "SCRIPT": str(script.pk),
        "FAILED": str(failed.pk),
        "NOJOB": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "FILE": str(report.file.pk),
        "DEN": str(den.pk),
        "HALL": str(rooms.create(alice, "open", "Hall", members=[bob]).pk),
        "PAIR": str(rooms.direct(alice, [bob])[0].pk),
        "SAID": str(said.pk),
        "SESSION": str(SignIn.objects.get(user=alice).pk),
    }


def ask(
    client: Client, words: dict[str, str], asked: tuple[str, str, str], kind: str, **headers: str
) -> int:
    """The status; whatever it did is undone, in the browser too."""
    method, path, body = asked
    cookies = client.cookies.output(header="")
    with transaction.atomic():
        answer = client.generic(
            method, spelt(path, words), body, content_type=kind, headers=headers
        )
        transaction.set_rollback(True)
    client.cookies.clear()
    client.cookies.load(cookies)
    if answer.headers.get("Location", "").startswith(("/accounts/login/", "/admin/login/")):
        return OUT
    return answer.status_code


def spelt(path: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        path = re.sub(rf"\b{word}\b", value, path)
    return path


def browsers(roles: tuple[str, ...]) -> dict[str, Client]:
    opened = {role: Client() for role in roles}
    for user in User.objects.filter(username__in=roles):
        opened[user.username].force_login(user)
    return opened


def test_the_api(words: dict[str, str], alice: User, admin: User) -> None:
    revoked, secret = make_key(alice, "revoked")
    access.revoke(revoked)
    keys = {
        "reader": make_key(alice, "reader", ["read"])[1],
        "publisher": make_key(alice, "publisher", ["publish"])[1],
        "operator": make_key(admin, "operator", ["admin"])[1],
        "revoked": secret,
    }
    clients, found = browsers(API_ROLES), {}
    for method, path, body in API:
        asked, statuses = (method, f"/api/v1{path}", body), []
        for role, client in clients.items():
            headers = {"origin": "http://testserver"}
            if role in keys:
                headers = {"authorization": f"Bearer {keys[role]}"}
            statuses.append(ask(client, words, asked, "application/json", **headers))
        found[method, path, body] = tuple(statuses)
    assert found == API


@pytest.mark.parametrize("area", sorted({path.split("/")[1] for _, path, _ in PAGES}))
def test_the_pages(words: dict[str, str], area: str) -> None:
    form = "application/x-www-form-urlencoded"
    wanted = {asked: who for asked, who in PAGES.items() if asked[1].split("/")[1] == area}
    clients = browsers(ROLES)
    found = {
        asked: tuple(ask(client, words, asked, form) for client in clients.values())
        for asked in wanted
    }
    assert found == wanted


def test_no_page_is_forgotten(words: dict[str, str]) -> None:
    reached = {resolve(spelt(path, words).partition("?")[0]).view_name for _, path, _ in PAGES}
    wanted = {f"web:{route.name}" for route in web_urls.urlpatterns}
    wanted |= {str(route.name) for route in account_urls.urlpatterns}
    wanted |= {
        f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        for model in django_admin.site._registry
    }
    assert wanted <= reached


def test_no_operation_is_forgotten(words: dict[str, str]) -> None:
    reached = {
        (method, resolve(f"/api/v1{spelt(path, words)}".partition("?")[0]).route)
        for method, path, *_ in [*API, *TABLE]
    }
    described = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/"), default=str))
    wanted = {
        (method.upper(), path.lstrip("/"))
        for path, operations in described["paths"].items()
        for method in operations
    }
    assert wanted <= {
        (method, re.sub(r"<(\w+:)?(\w+)>", r"{\2}", route)) for method, route in reached
    }
