"""E07, E08: whoever writes a watched row, by whatever way, exactly what is committed is told."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import httpx
import pytest

from consumers.database import in_database
from events.models import Event
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY, Load
from tests.faults.recorder import Recorder
from tests.faults.rig import Rig, rig
from tests.faults.test_delivery import HEAL, published, verdict_of
from tests.faults.test_transactions import FEW, heard
from tests.live import ROOT, collected_static, cookies_of, newcomer
from tests.shop.models import Order
from tests.shop.nesting import DEPTHS, ENDINGS

SITE: Final = {
    "HUB_APPS": "tests.shop.apps.WatchedShop",
    "DJANGO_SETTINGS_MODULE": "tests.shop.site",
}
PATIENCE: Final = 60.0

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(600)]


def marks_in_log(mark: str) -> Counter[str]:
    found = Event.objects.filter(topic=EVERYBODY, data__startswith=f'{{"mark":"{mark}')
    return Counter(re.findall(r'"mark":"([^"]*)"', "".join(found.values_list("data", flat=True))))


def difference(found: Counter[str], wanted: Counter[str]) -> str:
    missing, surplus = wanted - found, found - wanted
    said = f"{missing.total()} missing, {surplus.total()} too many"
    return said + (f": {wrong[:3]}" if (wrong := [*missing, *surplus]) else "")


# --- E07


def kept(depth: int, ending: str) -> Iterable[int]:
    """The levels whose order stays."""
    if ending == "outer":
        return []
    return range(1, depth + (ending == "commit" or depth == 1))


async def in_views(hub: Rig, address: str, mark: str) -> None:
    async with httpx.AsyncClient(base_url=hub.url, timeout=30) as http:
        for depth in DEPTHS:
            for ending in ENDINGS:
                answer = await http.get(
                    f"/shop/{address}/{mark}{depth}-{ending}-/{depth}/{ending}/"
                )
                assert answer.status_code == 200, answer.text


def by_command(hub: Rig, mark: str) -> None:
    command = [sys.executable, "manage.py", "nest_orders", mark]
    subprocess.run(command, cwd=ROOT, env=hub.env, check=True, timeout=PATIENCE)


async def in_tasks(hub: Rig, mark: str) -> None:
    await published(hub, "nest_in_tasks", mark=mark)
    last = {f"{mark}{depth}-commit-{depth}" for depth in DEPTHS}
    async with asyncio.timeout(PATIENCE):
        while await in_database(Order.objects.filter(name__in=last).count) < len(last):
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # two at a time, so another one may end after the last


@pytest.mark.experiment("E07")
async def test_nested_transactions_tell_what_they_commit(recorder: Recorder, report: Report):
    token = secrets.token_hex(4)
    places = ["sync", "async", "command", "task"]
    wanted = Counter(
        f"{token}{place}{depth}-{ending}-{level} created"
        for place in places
        for depth in DEPTHS
        for ending in ENDINGS
        for level in kept(depth, ending)
    )
    with rig(workers=1, env=SITE) as hub:
        async with Load(hub.url, recorder, FEW) as load:
            await asyncio.gather(
                in_views(hub, "nest", f"{token}sync"),
                in_views(hub, "anest", f"{token}async"),
                asyncio.to_thread(by_command, hub, f"{token}command"),
                in_tasks(hub, f"{token}task"),
            )
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, [])
    clients = heard(recorder, token)
    found = [await in_database(marks_in_log, token), *clients.values()]
    worst = max((difference(one, wanted) for one in found), key=lambda text: text != NOTHING)
    report(n=len(places) * len(DEPTHS) * len(ENDINGS), worst=f"{worst}; {verdict}")
    assert len(clients) == sum(FEW.values())
    assert [one for one in found if one != wanted] == [], worst
    assert verdict.clean, verdict


NOTHING: Final = difference(Counter(), Counter())


# --- E08


def deleted_in_admin(hub: Rig, cookies: dict[str, str], mark: str) -> int:
    """Select all orders of that name in the admin and delete them; the answer's status."""
    place = f"/shop/admin/shop/order/?name__startswith={mark}"
    with httpx.Client(base_url=hub.url, cookies=cookies, timeout=PATIENCE) as http:
        page = http.get(place)
        assert page.status_code == 200, hub.said()[-3000:]
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        first = re.findall(r'name="_selected_action" value="(\d+)"', page.text)
        form = {
            "csrfmiddlewaretoken": token[0],
            "action": "delete_selected",
            "select_across": "1",
            "_selected_action": first[0],
            "post": "yes",
        }
        return http.post(place, data=form, headers={"Origin": hub.url}).status_code


@pytest.mark.experiment("E08")
async def test_every_way_to_write_many_rows_tells_of_each(
    recorder: Recorder, counted: Callable[..., int], report: Report
):
    n = counted(1000, least=50)
    token = secrets.token_hex(4)
    admin = await in_database(newcomer, "admin", is_superuser=True, is_staff=True)
    cookies = await in_database(cookies_of, admin)
    wanted = Counter(
        f"{token}{which} {at} {what}"
        for which, changes in (
            ("made", ("created", "updated", "deleted")),
            ("cascade", ("created", "deleted")),
        )
        for what in changes
        for at in range(n)
    )
    await in_database(collected_static)  # the admin's pages name them
    with rig(env=SITE) as hub:
        async with Load(hub.url, recorder, FEW) as load:
            await published(hub, "in_bulk", n=n, mark=token)
            status = await asyncio.to_thread(deleted_in_admin, hub, cookies, f"{token}made")
            await load.level(HEAL)
            verdict = await verdict_of(load, recorder, [])
    clients = heard(recorder, token)
    found = [await in_database(marks_in_log, token), *clients.values()]
    worst = max((difference(one, wanted) for one in found), key=lambda text: text != NOTHING)
    report(n=n, worst=f"{worst}; {verdict}")
    assert status == 302
    assert len(clients) == sum(FEW.values())
    assert [one for one in found if one != wanted] == [], worst
    assert verdict.clean, verdict
