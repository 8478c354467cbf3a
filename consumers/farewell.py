"""What is still said of a topic that has ended: its last event, to whoever could read it until then.

Everybody else, and whoever has heard of it, gets the answer of a topic that does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from accounts import audience
from accounts.authenticate import Credential
from consumers.cursor import Cursor
from consumers.protocol import Item, Reset, Revoked
from events import epoch, log, sequence
from events.log import LoggedEvent

Pair = tuple[int, str]


def last_events(pairs: Collection[Pair]) -> dict[Pair, LoggedEvent]:
    """Database work: of these pairs of a person and a topic, those with a farewell, and which."""
    ended = audience.ended(pairs)
    names = {name for _, name in ended}
    if not names:
        return {}
    sequence.flush_pending(names)
    found = {name: page[0] for name in names if (page := log.page(name, None, 1))}
    return {(user_id, name): found[name] for user_id, name in ended if name in found}


def words(event: LoggedEvent, position: int) -> list[Item]:
    """What brings a client from its position past the topic's end; what came before it is nobody's any more."""
    if position >= event.offset:
        return []
    if position == event.offset - 1:
        return [event]
    return [Reset(event.topic, event.offset - 1, "expired"), event]


def part(
    who: Credential, refused: Sequence[str], at: Cursor | None
) -> tuple[list[Item], Cursor | None]:
    """Database work: what to say of topics that somebody may not read, and the cursor that goes on from there."""
    known = [name for name in refused if at is not None and name in at.positions]
    if at is None or not known or at.epoch != epoch.current():
        return [*map(Revoked, refused)], at
    last = last_events([(who.user_id, name) for name in known])
    positions = dict(at.positions)
    said: list[Item] = []
    for name in refused:
        event = last.get((who.user_id, name))
        if event is not None:
            said += words(event, positions[name])
            positions[name] = event.offset
        said.append(Revoked(name))
    return said, Cursor(at.epoch, positions)
