"""Hands queued jobs to Celery. The row is there first; a message that is lost is sent again by the watchdog."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import redis
from celery import current_app
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from kombu.exceptions import OperationalError as KombuError
from kombu.utils.json import dumps, loads

from tasks import jobs, sentences
from tasks.models import EXTERNAL, Job, State

logger = logging.getLogger(__name__)

JOB: Final = "hub_job"
ATTEMPT: Final = "hub_attempt"
"""Headers of our messages, and so members of a running task's request."""
_PATIENCE: Final = 0.25
"""Seconds that a request waits for the broker."""
FRESH: Final = timedelta(seconds=15)
"""A message younger than this may still lie in a worker's hands."""
_AT_ONCE: Final = 500
_AWAY: Final = (KombuError, redis.RedisError, OSError)


class BrokerAway(Exception):
    """Nothing can be sent now, whichever job it is for."""


def check(task: Any, args: Any, kwargs: Any) -> None:
    """Raise TypeError for arguments that the task does not take, as Celery does when it sends them."""
    takes = getattr(task, "__header__", None)
    if task.typing and takes is not None:
        takes(*(args or ()), **(kwargs or {}))


def pack(args: Any, kwargs: Any, options: Mapping[str, Any]) -> str:
    """A call as the row keeps it. Raises what kombu raises for what is no JSON."""
    return str(dumps({"args": list(args or ()), "kwargs": dict(kwargs or {}), "options": options}))


def unpack(job: Job) -> dict[str, Any]:
    call: dict[str, Any] = loads(job.message)
    return call


def name_of(task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str:
    """The queue in which workers find such a call, as Celery routes it."""
    wanted = {**task._get_exec_options(), **options}
    route = current_app.amqp.router.route(wanted, task.name, args, kwargs, task)
    found = route.get("queue")
    return str(getattr(found, "name", found or default_queue()))


def send_later(job: Job) -> None:
    """When the surrounding transaction commits; what is due after that is sent by the watchdog."""
    if job.due_at is None or job.due_at <= timezone.now():
        transaction.on_commit(lambda: send(job.pk), robust=True)


def send(job_id: uuid.UUID) -> bool:
    """Send a message for the waiting attempt. False, and no more, when the broker is away or nothing was to be sent."""
    try:
        return _send(job_id)
    except BrokerAway as error:
        logger.warning("job %s waits to be sent: %s", job_id, error)
        return False


def _send(job_id: uuid.UUID) -> bool:
    """Raises BrokerAway. What can't be sent whatever the broker does has failed: it would wait for ever."""
    job = _waiting().select_related("owner__hub_profile").filter(pk=job_id).first()
    if job is None:
        return False
    task: Any = current_app.tasks.get(job.kind)
    if not hasattr(task, "send"):
        logger.error("job %s: no tracked task is called %s any more", job.pk, job.kind)
        jobs.refuse(job.pk, job.attempt, sentences.NO_TASK % {"name": job.kind})
        return False
    try:
        call = unpack(job)
        # What stands in our own row is decided here, whatever the caller said of it.
        options = {
            **call["options"],
            "headers": _headers(job, call["options"]),
            "task_id": message_id(job),
            "retries": job.attempt - 1,
            "retry": False,
        }
        name = name_of(task, call["args"], call["kwargs"], call["options"])
        with _broker() as broker:
            task.send(call["args"], call["kwargs"], **{**options, "connection": broker})
    except _AWAY as error:
        raise BrokerAway(str(error)) from error
    except Exception as error:
        logger.exception("job %s can't be sent", job.pk)
        jobs.refuse(job.pk, job.attempt, sentences.NOT_SENT % {"error": error})
        return False
    sent = _waiting().filter(pk=job_id, attempt=job.attempt)
    sent.update(sent_at=timezone.now(), queue=name)
    return True


def message_id(job: Job) -> str:
    """Workers remember ids that were revoked: each attempt has its own."""
    return str(job.pk) if job.attempt == 1 else f"{job.pk}-{job.attempt}"


def send_left_behind() -> int:
    """Send what was never sent, and again what got lost on the way. Returns how many messages.

    Messages are taken for lost when a queue holds fewer than jobs wait for it. One sent twice does no harm: the
    first to come starts the job, and the second finds it started.
    """
    now = timezone.now()
    due = Q(due_at=None) | Q(due_at__lte=now)
    unsent = Q(sent_at=None, queued_at__lt=now - timedelta(seconds=2))
    # What was due at a time is sent at that time, whatever its age.
    unsent |= Q(sent_at=None, due_at__isnull=False)
    picked = _waiting().filter(due, unsent).order_by("created_at")
    found = list(picked.values_list("pk", flat=True)[:_AT_ONCE])
    for name, missing in _missing().items():
        old = _waiting().filter(sent_at__lt=now - FRESH, queue=name).order_by("sent_at")
        found += old.values_list("pk", flat=True)[: min(missing, _AT_ONCE)]
    sent = 0
    for job_id in found:
        try:
            sent += _send(job_id)
        except BrokerAway as error:
            logger.warning("jobs wait to be sent: %s", error)
            break
        except (OperationalError, InterfaceError):
            raise  # the database is away for the others, too
        except Exception:
            logger.exception("job %s can't be sent", job_id)
    return sent


def lengths(names: Iterable[str]) -> dict[str, int]:
    """How many messages the broker holds in each; nothing while it is away."""
    try:
        with _broker() as broker:
            return {name: _length(broker, name) for name in names}
    except _AWAY:
        return {}


def default_queue() -> str:
    return str(current_app.conf.task_default_queue)


def _waiting() -> QuerySet[Job]:
    return Job.objects.filter(finished_at=None, state=State.QUEUED).exclude(kind=EXTERNAL)


def _headers(job: Job, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**(options.get("headers") or {}), JOB: str(job.pk), ATTEMPT: job.attempt}


def _missing() -> dict[str, int]:
    """By queue, how many more jobs wait for a message than the broker holds messages."""
    sent = _waiting().exclude(sent_at=None).order_by()
    waiting = dict(sent.values_list("queue").annotate(Count("pk")))
    if not waiting:
        return {}
    held = lengths(waiting)
    return {name: waiting[name] - n for name, n in held.items() if n < waiting[name]}


def _broker() -> Any:
    """A connection that gives up at once: with Celery's own, even `retry=False` goes on trying for seconds."""
    patience = {
        "socket_connect_timeout": _PATIENCE,
        "socket_timeout": _PATIENCE,
        "max_retries": 0,
        "connect_retries_timeout": _PATIENCE,
    }
    return current_app.connection(transport_options=patience)


def _length(broker: Any, name: str) -> int:
    # Not `passive`: whether the queue exists is asked without the prefix, and so always denied.
    return int(broker.default_channel.queue_declare(name).message_count)
