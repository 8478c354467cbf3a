#!/usr/bin/env python
"""Django's command line for the hub: `python manage.py up` runs all of it in one terminal."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
        from django.core.management import execute_from_command_line  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(_missing(error)) from None
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        raise SystemExit(f"Wrong setting: {error}") from None
    except ModuleNotFoundError as error:
        if "--traceback" in sys.argv:
            raise
        raise SystemExit(_missing(error)) from None


def _missing(error: ModuleNotFoundError) -> str:
    for app in os.environ.get("HUB_APPS", "").replace(" ", "").split(","):
        if f"{app}.".startswith(f"{error.name}."):
            return f"HUB_APPS names {app}, and there is no such module on the Python path."
    return (
        f"The module {error.name} is missing: run `make install` once, "
        "and start with .venv/bin/python. (--traceback shows where it was wanted.)"
    )


if __name__ == "__main__":
    main()
