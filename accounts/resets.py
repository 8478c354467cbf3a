"""Password resets by mail: a page asks, a worker sends, a sweeper sends what the worker missed.

The page does the same for every address, known or not, and waits for no mail server, so neither its answer nor its
time says who has an account. The row holds no link: that is made when it is sent.
"""

from __future__ import annotations

import hashlib
import logging
import smtplib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from celery import current_app
from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import F
from django.template import loader
from django.utils import timezone, translation
from kombu.exceptions import OperationalError as BrokerAway

from accounts import throttle
from accounts.audience import is_staff_of_hub
from accounts.models import ResetRequest
from accounts.places import neighbourhood

logger = logging.getLogger(__name__)

PER_ADDRESS_AND_HOUR: Final = 20
"""Asked for from one network address: an office shares one."""
PER_MAILBOX_AND_HOUR: Final = 3
GIVE_UP: Final = timedelta(hours=6)
"""A link that comes later than that surprises."""
_FIRST_WAIT: Final = 30
"""Seconds until the second try, then twice as long each time; longer than one try may take."""
_LONGEST_WAIT: Final = 1800
_AT_ONCE: Final = 20
_BROKER_PATIENCE: Final = 0.25
_NO_MAIL: Final = "django.core.mail.backends.dummy.EmailBackend"


class Slowed(Exception):
    """Too many from this network address: the next one in `wait` seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


def ask(email: str, address: str) -> None:
    """Have a link sent to whoever has this mailbox; raises Slowed. Too many for one mailbox: silently none more."""
    if address and (
        wait := throttle.take(f"reset:from:{neighbourhood(address)}", PER_ADDRESS_AND_HOUR, 3600)
    ):
        raise Slowed(wait)
    mailbox = hashlib.sha256(email.casefold().encode("utf-8", "replace")).hexdigest()
    if settings.EMAIL_BACKEND == _NO_MAIL or throttle.take(
        f"reset:to:{mailbox}", PER_MAILBOX_AND_HOUR, 3600
    ):
        return
    with transaction.atomic():
        ResetRequest.objects.create(email=email, language=translation.get_language() or "")
        transaction.on_commit(_wake_a_worker, robust=True)


def send_due() -> int:
    """Send what waits; called by the worker and by beat. Returns how many requests are done with."""
    done = 0
    now = timezone.now()
    for row in ResetRequest.objects.filter(due_at__lte=now).order_by("due_at")[:_AT_ONCE]:
        if not _claim(row):
            continue
        try:
            _send(row)
        except _Hopeless as error:
            logger.error("a password reset was refused for good: %s", error)
        except (OSError, smtplib.SMTPException) as error:
            if row.created_at > now - GIVE_UP:
                logger.warning("a password reset waits, mail fails: %s", error)
                break  # the others would wait for the same server
            logger.error("a password reset was given up, mail fails: %s", error)
        row.delete()
        done += 1
    return done


class _Hopeless(Exception):
    pass


class _Letter(PasswordResetForm):
    """Django's form without its habit of swallowing what the mail server says."""

    def get_users(self, email: str) -> Iterable[User]:
        return [user for user in super().get_users(email) if is_staff_of_hub(user)]

    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        from_email: str | None,
        to_email: str,
        html_email_template_name: str | None = None,
    ) -> None:
        subject = "".join(loader.render_to_string(subject_template_name, context).splitlines())
        text = loader.render_to_string(email_template_name, context)
        try:
            EmailMultiAlternatives(subject, text, from_email, [to_email]).send()
        except smtplib.SMTPRecipientsRefused as error:
            if all(code >= 500 for code, _words in error.recipients.values()):
                raise _Hopeless(f"{[code for code, _words in error.recipients.values()]}") from None
            raise


def _claim(row: ResetRequest) -> bool:
    """Move the next try away first: of two workers one sends, and one that dies leaves it to the sweeper."""
    wait = min(_FIRST_WAIT * 2 ** min(row.tries, 10), _LONGEST_WAIT)
    rows = ResetRequest.objects.filter(pk=row.pk, tries=row.tries)
    return bool(rows.update(tries=F("tries") + 1, due_at=timezone.now() + timedelta(seconds=wait)))


def _send(row: ResetRequest) -> None:
    form = _Letter({"email": row.email})
    public = urlsplit(settings.HUB_URL)
    with translation.override(row.language or settings.LANGUAGE_CODE):
        if form.is_valid():
            form.save(domain_override=public.netloc, use_https=public.scheme == "https")


def _wake_a_worker() -> None:
    """A message only makes it faster: the request waits a moment for the broker, and never fails for it."""
    patience = {
        "socket_connect_timeout": _BROKER_PATIENCE,
        "socket_timeout": _BROKER_PATIENCE,
        "max_retries": 0,  # of connecting, which goes on for seconds even with `retry=False`
        "connect_retries_timeout": _BROKER_PATIENCE,
    }
    try:
        with current_app.connection(transport_options=patience) as broker:
            current_app.send_task(
                "accounts.tasks.send_resets", connection=broker, retry=False, expires=60
            )
    except (BrokerAway, redis.RedisError, OSError) as error:
        logger.warning("no worker was told of a password reset, beat will: %s", error)
