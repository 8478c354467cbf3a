"""`@tracked`: a Celery task whose every run is a job."""

from __future__ import annotations

import inspect
import json
import logging
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import Ignore, Retry
from celery.local import Proxy
from celery.result import AsyncResult
from django import forms
from django.contrib.auth.models import User
from django.core.files.uploadedfile import UploadedFile
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone, translation
from django.utils.functional import Promise

from tasks import files, jobs, notices, queue, sentences, titles
from tasks.errors import Cancelled, Failed, InvalidArguments, NotStartable
from tasks.models import ERROR_MAX, Job, State
from tasks.running import LEASE, Run, current

logger = logging.getLogger(__name__)

Permission = str | Callable[[User], bool] | None
Text = str | Promise

_definitions: dict[str, Definition] = {}


@dataclass(frozen=True)
class Definition:
    """What is known of a tracked task: how it is called, and who may start it by hand."""

    name: str
    title: Text
    description: Text
    form: type[forms.Form] | None
    permission: Permission
    is_private: bool

    def permits(self, user: User) -> bool:
        if not user.is_active:
            return False
        if self.permission is None:
            return True
        if isinstance(self.permission, str):
            return user.has_perm(self.permission)
        return bool(self.permission(user))


def tracked(
    *,
    title: Text = "",
    form: type[forms.Form] | None = None,
    permission: Permission = None,
    description: Text = "",
    private: bool = False,
) -> Callable[[Any], Any]:
    """Track every run of a Celery task as a job. It stands above the decorator that makes the task.

    With a `form` people start it by hand, on `/jobs/` and by `POST /api/v1/jobs`, if `permission` (a name as
    `shop.add_order`, or a function of the user) lets them; the form's cleaned fields are the task's arguments. A
    form whose `__init__` takes `user` is given who starts it. The text that the task returns is the job's summary.
    What a `private` one leaves as files is for its owner alone: superusers, who see every job, can't download it.
    """

    def track(task: Any) -> Any:
        made: Any = task if isinstance(task, (Task, Proxy)) else shared_task(task)
        instance: Any = current_app.tasks[made.name]
        kind: Any = type(instance)
        if not issubclass(kind, Tracked):
            instance.__class__ = type(
                kind.__name__, (Tracked, kind), {"__module__": kind.__module__}
            )
        titles.name_kind(made.name, title or made.name)
        _definitions[made.name] = Definition(
            made.name, title or made.name, description, form, permission, private
        )
        return made

    return track


class Tracked(Task):  # type: ignore[type-arg]
    """What `tracked` adds to a task's class."""

    abstract = True

    def start(self, *, owner: User | None, **kwargs: Any) -> Job:
        """Queue a run for this person: the row in the caller's transaction, the message when that commits.

        Raises TypeError for arguments that the task does not take, or that are no JSON.
        """
        return _queue(self, owner, (), kwargs, {})

    def send(self, args: Any, kwargs: Any, **options: Any) -> None:
        """Put a message for a job that is there into the queue."""
        super().apply_async(args, kwargs, **options)

    def apply_async(  # type: ignore[override]
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """As Celery's, and tracked; nobody owns the job. What is due later waits in its row, not at the broker.

        An `eta` without a time zone is in Django's.
        """
        eta = _aware(eta)
        if countdown is not None:
            eta = timezone.now() + timedelta(seconds=countdown)
        options = _kept(options)
        job = _queue(self, None, args, kwargs, options, due_at=eta, job_id=_uuid(task_id))
        return self.AsyncResult(str(job.pk))

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """As Celery's: the job goes on as a new attempt, of which nobody is told before the last has failed."""
        eta = _aware(eta)
        if self._header(queue.JOB) is None:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        if eta is None:
            wait = self.default_retry_delay if countdown is None else countdown
            eta = timezone.now() + timedelta(seconds=wait)
        # Where tasks are run at once, Celery decides the same and sends nothing.
        is_eager, self.request.is_eager = self.request.is_eager, True
        try:
            again: Any = super().retry(args, kwargs, exc, False, eta, None, max_retries, **options)
        finally:
            self.request.is_eager = is_eager
        call, again.sig = again.sig, None
        if args is not None or kwargs is not None or options:
            queue.check(self, call.args, call.kwargs)
            again.sig = call.clone()
            again.sig.options = _kept(options)
        if throw:
            raise again
        return again

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        job_id = self._header(queue.JOB)
        around = current()
        # A task that calls itself still has its own message: a plain call all the same.
        is_within = around is not None and str(around.pk) == job_id
        if job_id is None or self.request.called_directly or is_within:
            return super().__call__(*args, **kwargs)
        job = jobs.claim(uuid.UUID(job_id), self._header(queue.ATTEMPT), LEASE)
        if job is None:  # run already, cancelled, lost, or started again
            logger.info("job %s: a message that came late is ignored", job_id)
            raise Ignore
        return self._run(job, args, kwargs)

    def _header(self, name: str) -> Any:
        """Of the message that runs now; where tasks are run at once, without one, they lie a level deeper."""
        return self.request.get(name) or (self.request.headers or {}).get(name)

    def _run(self, job: Job, args: Any, kwargs: Any) -> Any:
        run = Run(job)
        try:
            if not may_run(job):
                raise Failed(sentences.NOT_ALLOWED)
            with run, translation.override(notices.language_of(job.owner)):
                result = self.run(*args, **kwargs)
        except Cancelled:
            run.finish(State.CANCELLED)
            raise Ignore from None
        except Ignore:
            run.finish(State.SUCCEEDED)
            raise
        except Retry as again:
            self._try_again(run, again)
            raise Ignore from None
        except Exception as error:
            run.finish(State.FAILED, error=trace_of(error))
            raise
        run.finish(State.SUCCEEDED, summary=_summary(result))
        return result

    def _try_again(self, run: Run, again: Any) -> None:
        reason = again.exc if isinstance(again.exc, Exception) else again
        due = again.when
        if isinstance(due, (int, float)):
            due = timezone.now() + timedelta(seconds=due)
        call: dict[str, str] = {}
        if again.sig is not None:
            options = {**queue.unpack(run.job)["options"], **again.sig.options}
            call["message"] = queue.pack(again.sig.args, again.sig.kwargs, options)
            call["queue"] = queue.name_of(self, again.sig.args, again.sig.kwargs, options)
        job = run.try_again(error=trace_of(reason), due_at=due, call=call)
        if job is not None:
            queue.send_later(job)


@dataclass(frozen=True)
class Prepared:
    """A checked call, its uploads stored: starting it is one short transaction."""

    definition: Definition
    kwargs: dict[str, Any]
    uploads: tuple[int, ...]

    def start(self, owner: User) -> Job:
        task: Any = current_app.tasks[self.definition.name]
        with transaction.atomic():
            job = _queue(task, owner, (), self.kwargs, {}, by_hand=True)
            files.adopt(job, self.uploads)
        return job

    def drop(self) -> None:
        """Forget the uploads that no job has taken."""
        files.drop(self.uploads)


def startable(user: User) -> list[Definition]:
    """The tasks that this person may start by hand, by title."""
    found = [one for one in _definitions.values() if one.form is not None and one.permits(user)]
    return sorted(found, key=lambda one: str(one.title).casefold())


def startable_named(user: User, name: str) -> Definition:
    """Raises NotStartable, for what they may not start as for what does not exist."""
    found = _definitions.get(name)
    if found is None or found.form is None or not found.permits(user):
        raise NotStartable(name)
    return found


def kinds() -> list[str]:
    """The names of all tracked tasks."""
    return list(_definitions)


def form_of(definition: Definition, user: User, *args: Any, **kwargs: Any) -> forms.Form:
    """The definition's form, told who fills it in if it wants to know; its files have to keep to the hub's limit."""
    if definition.form is None:
        raise NotStartable(definition.name)
    if "user" in inspect.signature(definition.form).parameters:
        kwargs["user"] = user
    form = definition.form(*args, **kwargs)
    for field in form.fields.values():
        if isinstance(field, forms.FileField):
            field.validators.append(files.small_enough)
    return form


def prepare(
    user: User, name: str, data: Mapping[str, Any], uploads: Mapping[str, Any] | None = None
) -> Prepared:
    """Check a call by hand against the task's form and store its uploads. Raises NotStartable, InvalidArguments."""
    definition = startable_named(user, name)
    form = form_of(definition, user, data, uploads)
    unknown = sorted({*data, *(uploads or {})} - set(form.fields))
    if unknown:
        accepted = ", ".join(form.fields) or "none"
        raise InvalidArguments(dict.fromkeys(unknown, f"unknown; accepted: {accepted}"))
    if not form.is_valid():
        raise InvalidArguments(
            {name: " ".join(map(str, errors)) for name, errors in form.errors.items()}
        )
    return prepared(definition, form)


def prepared(definition: Definition, form: forms.Form) -> Prepared:
    """The call that a valid form stands for. Of one that can't be made no upload is left behind."""
    kwargs: dict[str, Any] = {}
    stored: list[int] = []
    try:
        for name, value in form.cleaned_data.items():
            if isinstance(value, UploadedFile):
                kept = files.store(
                    value.name or name, value.content_type or "", value.chunks(files.PIECE)
                )
                stored.append(kept.pk)
                value = kept.pk
            kwargs[name] = _plain(value)
    except BaseException:
        files.drop(stored)
        raise
    return Prepared(definition, kwargs, tuple(stored))


def retry(job_id: uuid.UUID) -> Job:
    """Start an ended job once more, with the arguments it had. Raises NotPossible."""
    with transaction.atomic():
        job = jobs.retry(job_id)
        queue.send_later(job)
    return job


def may_run(job: Job) -> bool:
    """What somebody started by hand runs only while they might still start it."""
    if not job.by_hand:
        return True
    definition = _definitions.get(job.kind)
    return job.owner is not None and definition is not None and definition.permits(job.owner)


def may_download(user: User, job: Job) -> bool:
    """Whether who sees the job may have its files, too."""
    definition = _definitions.get(job.kind)
    return definition is None or not definition.is_private or job.owner_id == user.pk


def trace_of(error: BaseException) -> str:
    """The end of the trace, whose last line says what broke."""
    if isinstance(error, Failed):
        return str(error)
    return "".join(traceback.format_exception(error))[-2 * ERROR_MAX :]


def _queue(
    task: Tracked,
    owner: User | None,
    args: Any,
    kwargs: Any,
    options: Mapping[str, Any],
    *,
    due_at: datetime | None = None,
    job_id: uuid.UUID | None = None,
    by_hand: bool = False,
) -> Job:
    queue.check(task, args, kwargs)
    with transaction.atomic():
        job = jobs.create(
            kind=task.name,
            owner=owner,
            message=queue.pack(args, kwargs, options),
            queue=queue.name_of(task, args, kwargs, options),
            due_at=due_at,
            by_hand=by_hand,
            job_id=job_id,
        )
        queue.send_later(job)
    return job


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of the options of a call those that its message takes along."""
    ours = {"producer", "connection", "publisher", "router", "add_to_parent"}
    return {name: value for name, value in options.items() if name not in ours}


def _plain(value: Any) -> Any:
    """A cleaned field as JSON: rows by their keys, times as text."""
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, QuerySet):
        return list(value.values_list("pk", flat=True))
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


def _aware(at: datetime | None) -> datetime | None:
    return timezone.make_aware(at) if at is not None and timezone.is_naive(at) else at


def _summary(result: Any) -> str:
    if result is None:
        return ""
    return (
        result if isinstance(result, str) else json.dumps(result, default=str, ensure_ascii=False)
    )


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        return None
