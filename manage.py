#!/usr/bin/env python
"""Django's command line for the hub: `python manage.py up` runs all of it in one terminal."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    try:
        from django.core.management import execute_from_command_line  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is not installed: run `make run` once, or activate .venv."
        ) from None
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
