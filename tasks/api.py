"""`/jobs`, `/tasks`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import pydantic
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from ninja import Path, Query, Router, Schema, Status
from ninja.errors import ValidationError
from pydantic import Field, StringConstraints

from accounts import audience, idempotency, throttle
from accounts.api import Key, Person
from accounts.api_auth import Authenticated, account, caller
from accounts.api_body import json_object
from accounts.errors import ApiError, not_found
from events import log as events_log
from events import topics
from tasks import arguments, external, files, jobs, logs, tracking
from tasks.errors import InvalidArguments, NoSuchJob, NotPossible, NotStartable, TooLarge
from tasks.models import TITLE_MAX, Job, State
from tasks.tracking import Prepared

router = Router(tags=["jobs"])

STEERINGS_PER_MINUTE: Final = 600
"""Starting, cancelling, starting again."""
REPORTS_PER_MINUTE: Final = 6000
"""Of all scripts of a person together; one that reports five times a second makes 300."""
LOG_AT_ONCE: Final = 1024 * 1024
"""Characters of lines in one answer."""
_BIGGEST: Final = 2**63 - 1
_MULTIPART: Final = "multipart/form-data"

JobId = Annotated[uuid.UUID, Path()]
Count = Annotated[int, Field(ge=0, le=_BIGGEST)]
S = TypeVar("S", bound=Schema)


class JobFile(Schema):
    id: int
    name: str
    type: str
    size: int
    url: str
    at: str
    expires_at: str


class JobItem(Schema):
    id: str
    kind: str
    title: str
    state: State
    owner: Person | None
    done: int
    total: int | None
    note: str
    attempt: int
    queued_at: str
    started_at: str | None
    finished_at: str | None
    summary: str
    error: str
    files: list[JobFile]
    url: str
    cancel_requested: bool
    log_lines: int


class JobAttempt(Schema):
    number: int
    state: State
    queued_at: str
    started_at: str | None
    finished_at: str | None
    done: int
    total: int | None
    summary: str
    error: str


class JobDetail(JobItem):
    attempts: list[JobAttempt]
    cursor: str


class JobPage(Schema):
    items: list[JobItem]
    next: str | None
    cursor: str


class Line(Schema):
    n: int
    attempt: int
    at: str
    text: str


class LogPage(Schema):
    items: list[Line]
    next: int | None
    cursor: str


class Choice(Schema):
    value: str
    label: str


class TaskField(Schema):
    name: str
    label: str
    type: str
    required: bool
    help: str
    choices: list[Choice] | None


class TaskItem(Schema):
    task: str
    title: str
    description: str
    fields: list[TaskField]


class TaskList(Schema):
    items: list[TaskItem]


class NewJob(Schema):
    task: Annotated[str, Field(min_length=1, max_length=200)]
    args: dict[str, Any] = {}
    key: Key | None = None


class NewScript(Schema):
    title: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX)
    ]
    lease: Annotated[
        int,
        Field(
            ge=external.LEASE_LEAST,
            le=external.LEASE_MOST,
            description="Seconds of silence after which the script counts as lost.",
        ),
    ] = external.LEASE
    key: Key | None = None


class Place(Schema):
    """What is left out stays as it is."""

    done: Count
    total: Annotated[Count | None, Field(description="null: not known")] = None
    note: str = ""


class LogText(Schema):
    text: str


class End(Schema):
    ok: bool
    summary: str = ""
    error: str = ""


def _described(schema: type[Schema], **others: Mapping[str, Any]) -> dict[str, Any]:
    """A body that is read by hand, for it may be JSON or something else."""
    content = {"application/json": {"schema": schema.json_schema()}}
    content |= {kind: {"schema": dict(text)} for kind, text in others.items()}
    return {"requestBody": {"content": content, "required": True}}


_JOB_FORM: Final = {
    "type": "object",
    "description": "All other fields, and files, are the task's arguments.",
    "properties": {"task": {"type": "string"}, "key": {"type": "string"}},
    "required": ["task"],
}


@router.get("/tasks", auth=Authenticated("read"), response=TaskList)
def list_tasks(request: HttpRequest) -> dict[str, Any]:
    """What the caller may start, with the arguments that it takes."""
    user = account(request)
    return {
        "items": [
            {
                "task": definition.name,
                "title": str(definition.title),
                "description": str(definition.description),
                "fields": arguments.described(tracking.form_of(definition, user)),
            }
            for definition in tracking.startable(user)
        ]
    }


@router.get("/jobs", auth=Authenticated("read"), response=JobPage)
def list_jobs(
    request: HttpRequest,
    state: State | None = None,
    kind: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")] = "",
    own: bool = False,
    limit: Annotated[int, Query(ge=1, le=jobs.PAGE_MAX)] = jobs.PAGE,
    before: uuid.UUID | None = None,
) -> dict[str, Any]:
    """Own jobs, to a superuser all (but with `own`), newest first; `next` is the `before` of the following page."""
    cursor = events_log.cursor(audience.default_topics(caller(request).user_id))
    page = jobs.page(account(request), state=state, kind=kind, own=own, limit=limit, before=before)
    return {"items": page.items, "next": page.next, "cursor": cursor}


@router.post(
    "/jobs",
    auth=Authenticated("jobs"),
    response={201: JobItem},
    openapi_extra=_described(NewJob, **{_MULTIPART: _JOB_FORM}),
)
def start_job(request: HttpRequest) -> Status[Any]:
    """Start a task. The same `key` again starts nothing and gets the first answer.

    As JSON, or as a form (`multipart/form-data`), which may hold files: its fields `task` and `key` mean the same, all
    others are arguments.
    """
    user = account(request)
    throttle.limit(caller(request), "jobs", STEERINGS_PER_MINUTE)
    call = _call(request)
    answer = idempotency.stored(user.pk, "jobs", call.new.key)
    return Status(*(answer or _start(user, call)))


@router.get("/jobs/{uuid:job_id}", auth=Authenticated("read"), response=JobDetail)
def read_job(request: HttpRequest, job_id: JobId) -> dict[str, Any]:
    """One job with all its attempts, newest first."""
    cursor = events_log.cursor([topics.job(job_id)])
    job = _job(request, job_id)
    return {**jobs.item(job), "attempts": jobs.attempts(job), "cursor": cursor}


@router.post("/jobs/{uuid:job_id}/cancel", auth=Authenticated("jobs"), response=JobItem)
def cancel_job(request: HttpRequest, job_id: JobId) -> dict[str, Any]:
    """End what waits; ask what runs to stop. What has ended is 409."""
    throttle.limit(caller(request), "jobs", STEERINGS_PER_MINUTE)
    job = _job(request, job_id)
    try:
        return jobs.item(jobs.cancel(job.pk, by=account(request)))
    except NotPossible as error:
        raise _conflict(error) from None
    except NoSuchJob:
        raise not_found() from None


@router.post("/jobs/{uuid:job_id}/retry", auth=Authenticated("jobs"), response=JobItem)
def retry_job(request: HttpRequest, job_id: JobId) -> dict[str, Any]:
    """Start what failed, was cancelled or got lost once more. What has not ended, or succeeded, is 409."""
    throttle.limit(caller(request), "jobs", STEERINGS_PER_MINUTE)
    job = _job(request, job_id)
    try:
        return jobs.item(tracking.retry(job.pk))
    except NotPossible as error:
        raise _conflict(error) from None
    except NoSuchJob:
        raise not_found() from None


@router.get("/jobs/{uuid:job_id}/log", auth=Authenticated("read"), response=LogPage)
def read_log(
    request: HttpRequest,
    job_id: JobId,
    start: Annotated[int, Query(alias="from", ge=1, le=_BIGGEST)] = 1,
    limit: Annotated[int, Query(ge=1, le=logs.PAGE_MAX)] = logs.PAGE,
) -> dict[str, Any]:
    """Lines from this number on, over all attempts; `next` is where there are more right now."""
    cursor = events_log.cursor([topics.job(job_id)])
    lines = logs.page(_job(request, job_id), start, limit + 1)
    fitting = _fitting(lines[:limit])
    following = lines[len(fitting)]["n"] if len(fitting) < len(lines) else None
    return {"items": fitting, "next": following, "cursor": cursor}


@router.get(
    "/jobs/{uuid:job_id}/files/{int:file_id}",
    auth=Authenticated("read"),
    openapi_extra={"responses": {200: {"content": {"application/octet-stream": {}}}}},
)
def download_file(
    request: HttpRequest, job_id: JobId, file_id: Annotated[int, Path(le=_BIGGEST)]
) -> HttpResponseBase:
    """A result file, as a download."""
    job = _job(request, job_id)
    if not tracking.may_download(account(request), job):
        raise not_found()
    try:
        return files.response(files.of(job, file_id))
    except NoSuchJob:
        raise not_found() from None


@router.post("/jobs/external", auth=Authenticated("jobs"), response={201: JobItem})
def start_script(request: HttpRequest, new: NewScript) -> Status[Any]:
    """A job for a script that runs elsewhere. The same `key` again starts nothing and gets the first answer."""
    user = account(request)
    throttle.limit(caller(request), "jobs", STEERINGS_PER_MINUTE)

    def make() -> tuple[int, Any]:
        return 201, jobs.item(external.start(user, new.title, new.lease))

    return Status(*idempotency.once(user.pk, "jobs.external", new.key, make))


def report_progress(request: HttpRequest, job_id: JobId, place: Place) -> dict[str, Any]:
    """Say how far the script is, and keep its lease; `done` never goes back."""
    return _reported(request, job_id, external.progress, **place.dict(exclude_unset=True))


def report_log(request: HttpRequest, job_id: JobId) -> dict[str, Any]:
    """Add lines to the log, and keep the lease. The body is the text itself, or JSON `{text}`."""
    return _reported(request, job_id, external.log, text=_text(request))


def report_heartbeat(request: HttpRequest, job_id: JobId) -> dict[str, Any]:
    """Keep the lease; the answer's `cancel_requested` asks the script to stop."""
    return _reported(request, job_id, external.heartbeat)


def report_finish(request: HttpRequest, job_id: JobId, end: End) -> dict[str, Any]:
    """End the job. What has ended stays as it is."""
    return _reported(request, job_id, external.finish, **end.dict())


def _offer(report: Callable[..., Any], body: dict[str, Any] | None = None) -> None:
    """Under the address that scripts are promised, and beside what else there is of a job."""
    verb = report.__name__.removeprefix("report_")
    for place, name in (("/jobs/external", f"script_{verb}"), ("/jobs", f"job_{verb}")):
        router.add_api_operation(
            f"{place}/{{uuid:job_id}}/{verb}",
            ["POST"],
            report,
            auth=Authenticated("jobs"),
            response=JobItem,
            openapi_extra=body,
            operation_id=f"tasks_api_{name}",
        )


_offer(report_progress)
_offer(report_log, _described(LogText, **{"text/plain": {"type": "string"}}))
_offer(report_heartbeat)
_offer(report_finish)


def _job(request: HttpRequest, job_id: uuid.UUID) -> Job:
    try:
        return jobs.find(account(request), job_id)
    except NoSuchJob:
        raise not_found() from None


def _reported(request: HttpRequest, job_id: uuid.UUID, report: Any, **what: Any) -> dict[str, Any]:
    throttle.limit(caller(request), "reports", REPORTS_PER_MINUTE)
    try:
        return jobs.item(report(_job(request, job_id), **what))
    except NotPossible as error:
        raise _conflict(error) from None
    except NoSuchJob:
        raise not_found() from None


def _conflict(error: NotPossible) -> ApiError:
    return ApiError(409, str(error))


def _text(request: HttpRequest) -> str:
    """Whatever is not called JSON is the text, as `curl --data-binary` sends it."""
    kind = request.content_type or ""
    if kind == "application/json" or kind.endswith("+json"):
        return _checked(LogText, json_object(request)).text
    if kind == _MULTIPART:
        raise ApiError(400, "Send the text itself, or JSON; a form is not read here.")
    return request.body.decode("utf-8", "replace")


def _fitting(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many as one answer holds, at least one."""
    fitting: list[Mapping[str, Any]] = []
    size = 0
    for line in lines:
        size += len(line["text"])
        if fitting and size > LOG_AT_ONCE:
            break
        fitting.append(line)
    return fitting


@dataclass(frozen=True)
class _Call:
    """What `POST /jobs` asks for; of a form, the arguments as it brought them."""

    new: NewJob
    data: Any = None
    uploads: Any = None


def _call(request: HttpRequest) -> _Call:
    if request.content_type != _MULTIPART:
        return _Call(_checked(NewJob, json_object(request)))
    try:
        data = request.POST.copy()
        uploads = request.FILES
    except UnicodeError:
        raise MultiPartParserError("not text") from None
    own = {name: data.pop(name)[-1] for name in ("task", "key") if name in data}
    if any("\0" in text for text in own.values()):
        raise ApiError(400, "NUL characters are not accepted.")
    return _Call(_checked(NewJob, own), data, uploads)


def _start(user: User, call: _Call) -> tuple[int, Any]:
    prepared = _prepared(user, call)

    def make() -> tuple[int, Any]:
        return 201, jobs.item(prepared.start(user))

    try:
        return idempotency.once(user.pk, "jobs", call.new.key, make)
    finally:
        prepared.drop()  # another call with this key was first, or starting failed


def _prepared(user: User, call: _Call) -> Prepared:
    """Before any transaction: storing a file takes its time."""
    try:
        form = tracking.form_of(tracking.startable_named(user, call.new.task), user)
        if call.data is None:
            data: Any = arguments.posted(form, call.new.args)
        else:
            data = arguments.without_no(form, call.data)
        return tracking.prepare(user, call.new.task, data, call.uploads)
    except NotStartable:
        raise not_found() from None
    except InvalidArguments as error:
        raise _invalid(error.fields) from None
    except TooLarge as error:
        raise ApiError(413, str(error)) from None


def _invalid(fields: Mapping[str, str]) -> ApiError:
    named = {"args" if name == "__all__" else f"args.{name}": why for name, why in fields.items()}
    return ApiError(422, f"Not accepted: {', '.join(named)}.", fields=named)


def _checked(schema: type[S], value: Mapping[str, Any]) -> S:
    """As ninja checks a body that it reads itself."""
    try:
        return schema.model_validate(value)
    except pydantic.ValidationError as error:
        found = [{**one, "loc": ("body", "body", *one["loc"])} for one in error.errors()]
        raise ValidationError(found) from None
