from __future__ import annotations

import pytest

from events import topics


@pytest.mark.parametrize(
    "name",
    [
        "user.7",
        "team.1",
        "room.12",
        "group.dashboard",
        "group.a-b_c",
        "job.0f8fad5b-d9cb-469f-a165-70867728950e",
    ],
)
def test_well_formed_names_come_apart_and_together(name: str):
    found = topics.parse(name)
    assert found is not None
    assert f"{found.kind}.{found.key}" == found.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "user.",
        "user.07",
        "user.٣",
        "user.1.2",
        "access",
        "group.a/b",
        "group." + "x" * 80,
        "job.1",
        "USER.1",
    ],
)
def test_malformed_names_are_none(name: str):
    assert topics.parse(name) is None


def test_fixed_groups_exist_always_and_operators_add_more():
    assert topics.groups() == ["group.dashboard", "group.announcements", "group.sales", "group.ops"]
