"""`hubctl listen` over cuts, restarts and refusals."""

from __future__ import annotations

import json
import signal
import time

import pytest

from accounts.authenticate import make_key
from accounts.models import ApiKey
from events import publish, whisper
from tests.hubctl.running import Hubctl, end, read_until
from tests.live import live_server


@pytest.fixture
def listening(hubctl, tmp_path):
    """Starts listeners that note their cursor, so that one sees when they are there; stops them at the end."""
    started = []

    def start(*arguments: str, by: Hubctl = hubctl, **environment: str):
        path = tmp_path / "cursor"
        process = by.start("listen", "--cursor-file", str(path), *arguments, **environment)
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)


def wait_for(path, text: str = "") -> None:
    deadline = time.monotonic() + 40
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_prints_events_as_they_come(listening, topic, tmp_path) -> None:
    process = listening(topic)
    wait_for(tmp_path / "cursor")
    publish(topic, "order.late", {"title": "내일\u2028\x9b"})
    line = read_until(process.stdout, b"\n").decode()
    assert f"  {topic}  order.late  " in line
    assert "내일" in line
    assert "\x9b" not in line


def test_prints_one_object_per_line(listening, topic, tmp_path) -> None:
    process = listening(topic, "--json", "--whispers")
    wait_for(tmp_path / "cursor")
    whisper(topic, "order.tick", {"n": 1})
    hint = json.loads(read_until(process.stdout, b"\n"))
    assert (hint["op"], hint["type"]) == ("whisper", "order.tick")
    event = publish(topic, "order.late", {"title": "한\u2028"})
    got = json.loads(read_until(process.stdout, b"\n"))
    assert (got["op"], got["type"], got["data"]) == ("event", "order.late", {"title": "한\u2028"})
    event.refresh_from_db()
    assert (got["topic"], got["offset"]) == (topic, event.offset)


def test_hears_the_own_topic_without_naming_any(listening, person, tmp_path) -> None:
    process = listening("--json")
    wait_for(tmp_path / "cursor")
    publish(f"user.{person.pk}", "order.late", {})
    assert b'"order.late"' in read_until(process.stdout, b"order.late")


def test_goes_on_where_its_file_says(listening, topic, tmp_path) -> None:
    process = listening(topic, "--json")
    wait_for(tmp_path / "cursor")
    process.kill()
    process.wait()
    publish(topic, "order.late", {"n": 1})
    publish(topic, "order.late", {"n": 2})
    again = listening(topic, "--json")
    heard = read_until(again.stdout, b'"n":2')
    assert heard.count(b'"n":1') == 1
    wait_for(tmp_path / "cursor", f"{topic}:2")


def test_misses_nothing_while_the_hub_restarts(person, listening, topic, tmp_path) -> None:
    key = make_key(person, "hubctl")[1]
    with live_server() as server:
        process = listening(topic, "--json", by=Hubctl(server.url, key))
        wait_for(tmp_path / "cursor")
        publish(topic, "order.late", {"n": "before"})
        read_until(process.stdout, b"before")
        server.streams.kill(signal.SIGKILL)
        publish(topic, "order.late", {"n": "while"})
        server.streams.start()
        publish(topic, "order.late", {"n": "after"})
        heard = read_until(process.stdout, b'"after"')
        assert heard.count(b'"while"') == 1
        assert heard.count(b'"before"') == 0


def test_says_what_cannot_be_told(listening, topic, tmp_path) -> None:
    publish(topic, "order.late", {})
    (tmp_path / "cursor").write_text(f"0123456789abcdef~{topic}:1\n")
    process = listening(topic, "--json")
    got = json.loads(read_until(process.stdout, b"\n"))
    assert (got["op"], got["topic"], got["reason"]) == ("reset", topic, "epoch")


def test_a_topic_that_does_not_exist_is_said_and_the_others_are_heard(
    listening, topic, tmp_path
) -> None:
    process = listening(topic, "user.1")
    assert b"revoked user.1" in read_until(process.stdout, b"\n")
    publish(topic, "order.late", {})
    read_until(process.stdout, b"order.late")


def test_ends_with_3_when_there_is_nothing_to_hear(hubctl) -> None:
    done = hubctl("listen", "user.1", "team.999999")
    assert done.returncode == 3
    assert b"nothing to listen to" in done.stderr


def test_ends_with_3_when_the_key_ends(listening, topic, person, tmp_path) -> None:
    process = listening(topic)
    wait_for(tmp_path / "cursor")
    ApiKey.objects.filter(user=person).delete()
    assert process.wait(40) == 3
    assert process.stderr is not None
    assert b"Check HUB_API_KEY" in process.stderr.read()


@pytest.mark.parametrize(("text", "code"), [("no cursor", 2), ("커서", 2), ("nocursor", 3)])
def test_a_cursor_file_that_holds_something_else_is_refused(
    hubctl, topic, tmp_path, text, code
) -> None:
    (tmp_path / "cursor").write_text(f"{text}\n")
    done = hubctl("listen", topic, "--cursor-file", str(tmp_path / "cursor"))
    assert done.returncode == code
    assert b"cursor" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_goes_away_ends_it(listening, topic, tmp_path) -> None:
    process = listening(topic)
    wait_for(tmp_path / "cursor")
    process.stdout.close()
    publish(topic, "order.late", {})
    assert process.wait(40) == 141
