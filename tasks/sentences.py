"""What the hub itself says of a job: stored in English, read in the language of whoever reads it.

What a task or a script says, its summary above all, is its own and stays as it is.
"""

from __future__ import annotations

import re
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

NOT_ALLOWED: Final = gettext_noop("Whoever started this job may no longer do so.")
NO_TASK: Final = gettext_noop("There is no task called %(name)s any more.")
NOT_SENT: Final = gettext_noop("The job can't be sent to a worker: %(error)s")

_KNOWN: Final = (NOT_ALLOWED, NO_TASK, NOT_SENT)


def pattern(text: str) -> re.Pattern[str]:
    """What a sentence with `%(name)s` in it may have become, with a group for each."""
    return re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", re.escape(text)))


_PATTERNS: Final = [(text, pattern(text)) for text in _KNOWN]


def translated(text: str) -> str:
    """A sentence of the hub's in the present language, its `%(name)s` as they were; any other text as it is."""
    for known, form in _PATTERNS:
        if found := form.fullmatch(text):
            return _(known) % found.groupdict()
    return text
