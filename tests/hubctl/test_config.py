from __future__ import annotations

from pathlib import Path

import pytest

from hubctl import config
from hubctl.errors import Unusable
from tests.hubctl.running import Hubctl

SECRET = "hub_topsecret"


def stored(home: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """An environment with this configuration file."""
    path = home / "hubctl.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return {"XDG_CONFIG_HOME": str(home)}


def test_the_environment_says_where_the_hub_is() -> None:
    found = config.load({"HUB_URL": "https://hub.example.org/", "HUB_API_KEY": SECRET})
    assert (found.url, found.key) == ("https://hub.example.org", SECRET)


def test_a_file_says_it_too_and_the_environment_goes_first(tmp_path) -> None:
    home = stored(tmp_path, f'url = "https://hub.example.org"\nkey = "{SECRET}"\n')
    assert config.load(home) == config.Config("https://hub.example.org", SECRET)
    assert config.load({**home, "HUB_API_KEY": "other"}).key == "other"


def test_another_file_can_be_named(tmp_path) -> None:
    stored(tmp_path, f'url = "https://hub.example.org"\nkey = "{SECRET}"\n')
    assert config.load({"HUBCTL_CONFIG": str(tmp_path / "hubctl.toml")}).key == SECRET
    with pytest.raises(Unusable, match="does not exist"):
        config.load({"HUBCTL_CONFIG": str(tmp_path / "nothing.toml")})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_refuses_a_file_that_others_may_read(tmp_path, mode) -> None:
    home = stored(tmp_path, f'url = "https://hub.example.org"\nkey = "{SECRET}"\n', mode)
    with pytest.raises(Unusable, match="chmod 600 "):
        config.load(home)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("url = ", "no TOML"),
        ('adress = "https://hub.example.org"', "adress is not known"),
        ("key = 7", "key must be a str"),
        (f'key = "{SECRET}"', "HUB_URL"),
        ('url = "https://hub.example.org"', "HUB_API_KEY"),
        (f'url = "hub.example.org"\nkey = "{SECRET}"', "must read like https://"),
        (f'url = "https://a:b@hub.example.org"\nkey = "{SECRET}"', "no password"),
        ('url = "https://hub.example.org"\nkey = "two words"', "copy it anew"),
    ],
)
def test_says_in_one_line_what_is_wrong_and_never_the_key(tmp_path, text, says) -> None:
    with pytest.raises(Unusable, match=says) as error:
        config.load(stored(tmp_path, text))
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000"])
def test_talks_plainly_to_this_machine(url) -> None:
    assert config.load({"HUB_URL": url, "HUB_API_KEY": SECRET}).url == url


def test_sends_no_key_in_the_clear_unless_told_to(tmp_path) -> None:
    given = {"HUB_URL": "http://hub.example.org", "HUB_API_KEY": SECRET}
    with pytest.raises(Unusable, match="unencrypted"):
        config.load(given)
    assert config.load({**given, "HUB_ALLOW_HTTP": "1"}).url == "http://hub.example.org"
    home = stored(tmp_path, 'url = "http://hub.example.org"\nkey = "k"\nallow_http = true\n')
    assert config.load(home).url == "http://hub.example.org"


def test_a_configuration_shows_no_key() -> None:
    assert SECRET not in repr(config.Config("https://hub.example.org", SECRET))


def test_without_a_configuration_a_command_ends_with_2_and_one_line() -> None:
    done = Hubctl(url="")("inbox")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"hubctl: which hub?")
    assert done.stderr.count(b"\n") == 1
