"""May this person read this topic? The one place that answers.

Features above register a rule for their kind of topic at start. What is malformed, absent, foreign or of a
kind that nobody registered gets the same answer: no.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.utils.module_loading import import_string

from events import topics
from events.log import LoggedEvent
from events.topics import Topic

if TYPE_CHECKING:
    from accounts.authenticate import Credential

logger = logging.getLogger(__name__)

Pair = tuple[int, Topic]
Rule = Callable[[Collection[Pair]], set[Pair]]
Narrows = Callable[[LoggedEvent], bool]

_rules: dict[str, Rule] = {}
_ended: dict[str, Rule] = {}
_narrowing: dict[str, Narrows] = {}


def register(
    kind: str, rule: Rule, *, ended: Rule | None = None, narrows: Narrows | None = None
) -> None:
    """`rule` gets `(user id, topic)` pairs of active staff, all at once, and returns those that are allowed.

    `ended` likewise, where a topic can end: those whose topic has, and whose person could read it until then.
    `narrows`, of an event of such a topic: whether fewer may read it than what came before.
    """
    _rules[kind] = rule
    if narrows is not None:
        _narrowing[kind] = narrows
    if ended is not None:
        _ended[kind] = ended


def allowed(pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the pairs that may be read right now; a constant number of queries per kind of topic."""
    return _by(_rules, pairs)


def ended(pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the pairs that could be read until their topic ended: its last event may still be told."""
    return _by(_ended, pairs)


def narrowing(topic: str) -> Narrows | None:
    """Which events of this topic may be handed on only once its readers were asked for again; None: none ever."""
    return _narrowing.get(topic.partition(".")[0])


def _by(rules: Mapping[str, Rule], pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    by_kind: dict[str, list[Pair]] = defaultdict(list)
    for user_id, name in pairs:
        topic = topics.parse(name)
        if topic is not None and topic.kind in rules:
            by_kind[topic.kind].append((user_id, topic))
    staff = _staff({user_id for asked in by_kind.values() for user_id, _ in asked})
    return {
        (user_id, topic.name)
        for kind, asked in by_kind.items()
        if (of_staff := [pair for pair in asked if pair[0] in staff])
        for user_id, topic in rules[kind](of_staff)
    }


def may_read(user_id: int, topic: str) -> bool:
    return bool(allowed([(user_id, topic)]))


def default_topics(user_id: int) -> list[str]:
    """What somebody reads without asking: the own topic, the fixed groups, the own teams."""
    return default_topics_of([user_id])[user_id]


def topics_of(user: User) -> list[str]:
    """`default_topics` of an account that was read a moment ago."""
    if not is_staff_of_hub(user):
        return []
    return _default(user.pk, user.groups.order_by("pk").values_list("pk", flat=True))


def default_topics_of(user_ids: Collection[int]) -> dict[int, list[str]]:
    """`default_topics` of many people, in as many queries as of one."""
    teams: dict[int, list[int]] = defaultdict(list)
    members = Group.objects.filter(user__in=user_ids).order_by("pk").values_list("user", "pk")
    for user_id, team in members:
        teams[user_id].append(team)
    staff = _staff(user_ids)
    return {
        user_id: _default(user_id, teams[user_id]) if user_id in staff else []
        for user_id in user_ids
    }


def _default(user_id: int, teams: Iterable[int]) -> list[str]:
    return [topics.user(user_id), *topics.groups(), *map(topics.team, teams)]


def may_publish(credential: Credential, topic: str) -> bool:
    """Whether `POST /api/v1/events` may write here: the groups, and teams that the person may read."""
    parsed = topics.parse(topic)
    if parsed is None or parsed.kind not in {"group", "team"}:
        return False
    needed = "admin" if topic in {topics.DASHBOARD, topics.ANNOUNCEMENTS} else "publish"
    return needed in credential.scopes and may_read(credential.user_id, topic)


def is_staff_of_hub(user: User) -> bool:
    """Every active account, unless HUB_IS_STAFF names a predicate that narrows this."""
    if not user.is_active:
        return False
    if not settings.HUB_IS_STAFF:
        return True
    try:
        return bool(import_string(settings.HUB_IS_STAFF)(user))
    except Exception:
        logger.exception("HUB_IS_STAFF failed; the account is treated as not staff")
        return False


def _staff(user_ids: Iterable[int]) -> set[int]:
    active = get_user_model()._default_manager.filter(pk__in=set(user_ids), is_active=True)
    if not settings.HUB_IS_STAFF:
        return set(active.values_list("pk", flat=True))
    return {user.pk for user in active if is_staff_of_hub(user)}


def _own(pairs: Collection[Pair]) -> set[Pair]:
    return {(user_id, topic) for user_id, topic in pairs if topic.key == str(user_id)}


def _fixed_groups(pairs: Collection[Pair]) -> set[Pair]:
    existing = set(topics.groups())
    return {(user_id, topic) for user_id, topic in pairs if topic.name in existing}


def _teams(pairs: Collection[Pair]) -> set[Pair]:
    users = {user_id for user_id, _ in pairs}
    teams = set(
        Group.objects.filter(pk__in={int(topic.key) for _, topic in pairs}).values_list(
            "pk", flat=True
        )
    )
    people = get_user_model()._default_manager
    superusers = set(people.filter(pk__in=users, is_superuser=True).values_list("pk", flat=True))
    members = set(people.filter(pk__in=users, groups__in=teams).values_list("pk", "groups"))
    return {
        (user_id, topic)
        for user_id, topic in pairs
        if (team := int(topic.key)) in teams
        and (user_id in superusers or (user_id, team) in members)
    }


register("user", _own)
register("group", _fixed_groups)
register("team", _teams)
