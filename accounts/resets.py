"""Links to set a password, by mail: a page or an import asks, a worker sends, a sweeper sends what the worker missed.

The page does the same for every address, known or not, and waits for no mail server, so neither its answer nor its
time says who has an account. The row holds no link: that is made when it is sent.
"""

from __future__ import annotations

import hashlib
import logging
import smtplib
import time
from collections.abc import Collection, Iterable
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

from accounts import invitations, throttle
from accounts.audience import is_staff_of_hub
from accounts.models import ResetRequest
from accounts.places import neighbourhood

logger = logging.getLogger(__name__)

PER_ADDRESS_AND_HOUR: Final = 20
"""Asked for from one network address: an office shares one."""
PER_MAILBOX_AND_HOUR: Final = 3
GIVE_UP: Final = timedelta(hours=6)
"""A link that comes later than that surprises."""
GIVE_UP_INVITING: Final = timedelta(days=3)
"""Whoever is new waits for nothing; that long a mail server may be away."""
_FIRST_WAIT: Final = 30
"""Seconds until the second try, then twice as long each time; longer than one try may take."""
_LONGEST_WAIT: Final = 1800
_AT_ONCE: Final = 20
_BUSY: Final = 10.0
"""Seconds after which a long row of invitations leaves the worker to others, until the sweeper comes by."""
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
        wait := throttle.take(
            f"reset:from:{neighbourhood(address)}",
            PER_ADDRESS_AND_HOUR,
            3600,
            reason="password_reset",
        )
    ):
        raise Slowed(wait)
    mailbox = hashlib.sha256(email.casefold().encode("utf-8", "replace")).hexdigest()
    if not can_mail() or throttle.take(
        f"reset:to:{mailbox}", PER_MAILBOX_AND_HOUR, 3600, reason="password_reset"
    ):
        return
    with transaction.atomic():
        ResetRequest.objects.create(email=email, language=translation.get_language() or "")
        transaction.on_commit(wake, robust=True)


def invite(users: Collection[User]) -> None:
    """Part of the transaction that made these accounts: each is mailed a link, once. `wake` makes it fast."""
    language = translation.get_language() or ""
    ResetRequest.objects.bulk_create(
        ResetRequest(user=user, email=user.email, language=language) for user in users
    )


def can_mail() -> bool:
    """Whether there is a mail server at all."""
    return settings.EMAIL_BACKEND != _NO_MAIL


def send_due() -> int:
    """Send what waits; called by the worker and by beat. Returns how many requests are done with."""
    done = 0
    until = time.monotonic() + _BUSY
    while rows := _due():
        for row in rows:
            if not _claim(row):
                continue
            try:
                _send(row)
            except _Hopeless as error:
                logger.error("a link to set a password was refused for good: %s", error)
            except (OSError, smtplib.SMTPException) as error:
                patience = GIVE_UP if row.user_id is None else GIVE_UP_INVITING
                if row.created_at > timezone.now() - patience:
                    logger.warning("a link to set a password waits, mail fails: %s", error)
                    return done  # the others would wait for the same server
                logger.error("a link to set a password was given up, mail fails: %s", error)
            row.delete()
            done += 1
        if time.monotonic() > until:
            break
    return done


def _due() -> list[ResetRequest]:
    """Who asked is waiting and goes first, however many are invited."""
    due = ResetRequest.objects.filter(due_at__lte=timezone.now()).order_by("due_at")
    asked = list(due.filter(user=None)[:_AT_ONCE])
    invited = due.filter(user__isnull=False).select_related("user")
    return asked or list(invited[:_AT_ONCE])


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
        _mail(subject_template_name, email_template_name, context, to=to_email, sender=from_email)


def _claim(row: ResetRequest) -> bool:
    """Move the next try away first: of two workers one sends, and one that dies leaves it to the sweeper."""
    wait = min(_FIRST_WAIT * 2 ** min(row.tries, 10), _LONGEST_WAIT)
    rows = ResetRequest.objects.filter(pk=row.pk, tries=row.tries)
    return bool(rows.update(tries=F("tries") + 1, due_at=timezone.now() + timedelta(seconds=wait)))


def _send(row: ResetRequest) -> None:
    public = urlsplit(settings.HUB_URL)
    with translation.override(row.language or settings.LANGUAGE_CODE):
        if row.user is not None:
            _send_invitation(row.user)
            return
        form = _Letter({"email": row.email})
        if form.is_valid():
            form.save(domain_override=public.netloc, use_https=public.scheme == "https")


def _send_invitation(user: User) -> None:
    """Unless it came to nothing meanwhile: the account was closed, its address taken away, or it has a password."""
    if not user.email or user.has_usable_password() or not is_staff_of_hub(user):
        return
    context = {
        "username": user.get_username(),
        "hub": settings.HUB_URL,
        "link": invitations.link(user),
        "days": invitations.days_valid(),
    }
    _mail(
        "accounts/invitation_subject.txt", "accounts/invitation_email.txt", context, to=user.email
    )


def _mail(
    subject_template: str,
    text_template: str,
    context: dict[str, Any],
    *,
    to: str,
    sender: str | None = None,
) -> None:
    subject = "".join(loader.render_to_string(subject_template, context).splitlines())
    text = loader.render_to_string(text_template, context)
    try:
        EmailMultiAlternatives(subject, text, sender, [to]).send()
    except smtplib.SMTPRecipientsRefused as error:
        if all(code >= 500 for code, _words in error.recipients.values()):
            raise _Hopeless(f"{[code for code, _words in error.recipients.values()]}") from None
        raise


def wake() -> None:
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
        logger.warning("no worker was told of a mail that waits, beat will: %s", error)
