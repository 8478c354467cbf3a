"""What the cookies say to the browser, under http and under https."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import json
from django.test import Client
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
get_user_model().objects.create_superuser("root", "root@example.org", "correct-horse-battery")
client = Client(HTTP_HOST="hub.example.org", SERVER_PORT="443")
page = client.get("/accounts/login/", secure=SECURE)
form = {"username": "root", "password": "correct-horse-battery"}
signed_in = client.post("/accounts/login/", form, secure=SECURE)
found = {**page.cookies, **signed_in.cookies}
print(json.dumps({
    name: {key: found[name][key] for key in ("secure", "httponly", "samesite", "path", "domain")}
    for name in found if "session" in name or "csrf" in name
}))
"""


def cookies_of(home: Path, url: str) -> dict[str, dict[str, object]]:
    asked = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c",
         ASK.replace("SECURE", str(url.startswith("https")))],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HUB_DATA_DIR": str(home), "HUB_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-2000:]
    found: dict[str, dict[str, object]] = json.loads(asked.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_of_a_hub(tmp_path: Path, secure: bool) -> None:
    found = cookies_of(tmp_path, f"http{'s' if secure else ''}://hub.example.org")
    mark = "__Host-" if secure else ""
    assert set(found) == {f"{mark}sessionid", f"{mark}csrftoken"}
    for name, says in found.items():
        assert bool(says["secure"]) is secure, name
        assert (says["samesite"], says["path"], says["domain"]) == ("Lax", "/", ""), name
    assert found[f"{mark}sessionid"]["httponly"]
