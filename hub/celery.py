"""The Celery application: JSON only, late acknowledgement, settings under `CELERY_`."""

from __future__ import annotations

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
)

from events import about
from hub.sign_of_life import SignOfLife

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

app = Celery("hub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(SignOfLife)


@setup_logging.connect
def _leave_logging_to_django(**_: object) -> None:
    """A receiver here keeps Celery from configuring handlers of its own."""


@worker_init.connect
@beat_init.connect
def _keep_restores_away(**_: object) -> None:
    from hub import in_use  # noqa: PLC0415 - Django, which is set up by now

    in_use.stay()


@task_prerun.connect
def _say_which(task_id: str, task: Any, **_: object) -> None:
    """What the task logs, and Celery of its failure, is about it and its job."""
    job = task.request.get("hub_job")
    about.say(task_id=task_id, **({"job": job} if job else {}))


@task_postrun.connect
def _say_none(**_: object) -> None:
    about.say()


@worker_process_init.connect
def _spare_the_collector(**_: object) -> None:
    """What is loaded stays: looking through it for garbage takes 100 ms, also while a job holds a lock."""
    gc.collect()
    gc.freeze()
