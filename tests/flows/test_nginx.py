"""What nginx does before the hub by `deploy/nginx.conf`, as far as it can go wrong unseen."""

from __future__ import annotations

import shutil
import time

import httpx
import pytest

from tests.faults.rig import NGINX, rig
from tests.live import newcomer

pytestmark = [
    pytest.mark.usefixtures("live_db"),
    pytest.mark.skipif(shutil.which(NGINX) is None, reason="no nginx"),
    pytest.mark.timeout(120),
]

RESET = "/accounts/password/reset/MQ/sw0rdfish-of-a-path/"
SETUP = "/accounts/setup/?token=sw0rdfish-of-a-query"


def test_one_time_links_are_not_logged_not_even_where_they_fail():
    newcomer("admin", is_superuser=True)  # else a hub makes its first
    with rig(nginx=True) as hub, httpx.Client(base_url=hub.url, timeout=60) as http:
        assert http.get(RESET).status_code == 200
        assert http.get(SETUP).status_code == 404
        hub.servers[0].kill()  # nobody has used the links up
        for path in (RESET, SETUP, "/inbox/?page=2"):
            assert http.get(path).status_code == 502
        assert hub.nginx is not None
        while (said := hub.nginx.said()).count(" 502 ") < 3:  # nginx answers before it logs
            time.sleep(0.02)
        everybody = hub.said()
    assert "sw0rdfish" not in everybody
    for line in ("GET /accounts/password/reset/MQ/... ", "GET /accounts/setup/ "):
        assert f"{line}{404 if 'setup' in line else 200} " in said
        assert f"{line}502 " in said
    errors = [line for line in said.splitlines() if "[error]" in line]
    assert len(errors) == 1
    assert "GET /inbox/?page=2" in errors[0]


def test_a_body_that_is_too_large_is_answered_by_the_hub_and_counted():
    sizes = (2.2, 2.6)  # MiB: more than an operation takes, and more than the hub reads
    with rig(nginx=True) as hub:
        for size in sizes:
            body = b"x" * int(size * 2**20)
            answer = httpx.post(f"{hub.url}/api/v1/events", content=body, timeout=60)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "too_large"
        assert hub.metrics()['hub_refusals_total{reason="body"}'] == len(sizes)
