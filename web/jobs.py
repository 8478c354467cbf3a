"""`/jobs/`: what runs and ran, starting by form, cancelling, trying again, and what a job leaves behind."""

from __future__ import annotations

import uuid
from typing import Any, Final, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import idempotency, throttle
from events import log, topics
from tasks import api, files, jobs, logs, tracking
from tasks.errors import NoSuchJob, NotPossible, NotStartable, TooLarge
from tasks.models import EXTERNAL, LIVE, Job, State
from web.templatetags.jobs import kind_title
from web.views import page

LINES: Final = 300
"""Of a log's end that come with the page; further up is fetched, or downloaded."""
ONCE: Final = "hub-once"
"""The field that tells a form sent twice from two forms; no task's own field is called so."""
_ROUTE: Final = "jobs page"
"""Under which its answer is kept."""
_RETRYABLE: Final = (State.FAILED, State.CANCELLED, State.LOST)


@require_safe
@page
def jobs_page(request: HttpRequest) -> HttpResponse:
    user = _me(request)
    state = request.GET.get("state", "")
    state = state if state in State.values else ""
    kind = request.GET.get("kind", "").replace("\0", "")[:200]  # PostgreSQL takes none
    own = not user.is_superuser or request.GET.get("whose") == "own"
    before = _uuid(request.GET.get("before"))
    shown = jobs.page(user, state=state, kind=kind, own=own, before=before)
    chosen = {"whose": "own" if own and user.is_superuser else "", "state": state, "kind": kind}
    query = urlencode({name: value for name, value in chosen.items() if value})
    kinds = jobs.visible_to(user).order_by().values_list("kind", flat=True).distinct()
    return render(
        request,
        "web/jobs.html",
        {
            "place": "jobs",
            "items": shown.items,
            "next": shown.next,
            "before": before,
            "limit": jobs.PAGE,
            "query": f"{query}&" if query else "",
            "state": state,
            "states": State.choices,
            "kind": kind,
            "kinds": sorted(((name, kind_title(name)) for name in kinds), key=lambda each: each[1]),
            "whose": "own" if own else "all",
            "startable": tracking.startable(user),
            "workers_away": jobs.outage(),
        },
    )


@require_safe
@page
def job_page(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    cursor = log.cursor([topics.job(job_id)])
    job = _find(request, job_id)
    return render(
        request,
        "web/job.html",
        {
            "place": "jobs",
            "cursor": cursor,
            "job": jobs.item(job),
            "attempts": jobs.attempts(job),
            "lines": logs.tail(job, LINES),
            "log_lines": job.log_lines,
            "may_cancel": job.state in LIVE and job.cancel_requested_at is None,
            "is_stopping": job.state in LIVE and job.cancel_requested_at is not None,
            "may_retry": job.state in _RETRYABLE and job.kind != EXTERNAL,
            "workers_away": jobs.outage(),
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@page
def job_start(request: HttpRequest, name: str) -> HttpResponse:
    user = _me(request)
    try:
        task = tracking.startable_named(user, name)
    except NotStartable:
        raise Http404 from None
    if request.method != "POST":
        return _start(request, task, tracking.form_of(task, user), str(uuid.uuid4()))
    once = str(_uuid(request.POST.get(ONCE)) or uuid.uuid4())
    if wait := _wait(user):
        form = tracking.form_of(task, user, initial=request.POST.dict())
        answer = _start(request, task, form, once, refused=_too_fast(wait))
        answer.status_code, answer.headers["Retry-After"] = 429, str(wait)
        return answer
    known = idempotency.stored(user.pk, _ROUTE, once)
    if known is not None:
        return redirect("web:job", known[1]["id"])
    form = tracking.form_of(task, user, request.POST, request.FILES)
    if not form.is_valid():
        return _start(request, task, form, once)
    try:
        return redirect("web:job", _started_once(user, task, form, once))
    except TooLarge as error:
        form.add_error(None, str(error))
        return _start(request, task, form, once)


@require_http_methods(["GET", "HEAD", "POST"])
@page
def job_cancel(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    job = _find(request, job_id)
    refused, status = "", 200
    if request.method == "POST" and (wait := _wait(_me(request))):
        refused, status = _too_fast(wait), 429
    elif request.method == "POST":
        try:
            jobs.cancel(job_id, _me(request))
            return redirect("web:job", job_id)
        except NoSuchJob:
            raise Http404 from None
        except NotPossible as error:
            refused, status = str(error), 409
    context = {"place": "jobs", "job": jobs.item(job), "refused": refused}
    return render(request, "web/job_cancel.html", context, status=status)


@require_POST
@page
def job_retry(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    _find(request, job_id)
    if wait := _wait(_me(request)):
        messages.error(request, _too_fast(wait))
        return redirect("web:job", job_id)
    try:
        tracking.retry(job_id)
    except NoSuchJob:
        raise Http404 from None
    except NotPossible as error:
        messages.error(request, str(error))
    return redirect("web:job", job_id)


@require_safe
@page
def job_log(request: HttpRequest, job_id: uuid.UUID) -> HttpResponseBase:
    """The whole log as a file."""
    job = _find(request, job_id)
    pieces = (piece.encode() for piece in logs.whole(job))
    answer = files.Download(pieces, content_type="text/plain; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="job-{job.pk}.txt"'
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


@require_safe
@page
def job_file(request: HttpRequest, job_id: uuid.UUID, file_id: int) -> HttpResponseBase:
    job = _find(request, job_id)
    if not tracking.may_download(_me(request), job):
        raise Http404
    try:
        return files.response(files.of(job, file_id))
    except NoSuchJob:
        raise Http404 from None


def _start(
    request: HttpRequest, task: tracking.Definition, form: Form, once: str, refused: str = ""
) -> HttpResponse:
    context = {
        "place": "jobs",
        "task": task,
        "form": form,
        "once": once,
        "refused": refused,
        "workers_away": jobs.outage(),
    }
    return render(request, "web/job_start.html", context)


def _started_once(user: User, task: tracking.Definition, form: Form, once: str) -> str:
    """The job's id: a form that is sent twice at once gets the same one twice."""
    call = tracking.prepared(task, form)

    def start() -> tuple[int, Any]:
        return 201, {"id": str(call.start(user).pk)}

    try:
        _status, made = idempotency.once(user.pk, _ROUTE, once, start)
    finally:
        call.drop()
    return str(made["id"])


def _wait(user: User) -> int:
    """Seconds until this person may start or steer a job, here as in the API; 0: now."""
    return throttle.take(f"jobs:user:{user.pk}", api.STEERINGS_PER_MINUTE)


def _too_fast(wait: int) -> str:
    said = ngettext(
        "That was a lot of jobs in a short time. Nothing was changed; try again in %(seconds)d second.",
        "That was a lot of jobs in a short time. Nothing was changed; try again in %(seconds)d seconds.",
        wait,
    )
    return said % {"seconds": wait}


def _find(request: HttpRequest, job_id: uuid.UUID) -> Job:
    try:
        return jobs.find(_me(request), job_id)
    except NoSuchJob:
        raise Http404 from None


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None


def _me(request: HttpRequest) -> User:
    return cast(User, request.user)
