"""The commands and their arguments."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from hubctl import __version__, config, inbox, jobs, progress, send
from hubctl.client import Hub
from hubctl.errors import HubctlError, Unusable
from hubctl.listen import Listening, listen
from hubctl.run import Run, run
from hubctl.terminal import warn

_EXIT_CODES: Final = """\
exit codes:
  0    done
  2    wrong use: arguments, configuration
  3    the hub refused
  4    the hub can't be reached, or can't answer now
  130  interrupted by Ctrl-C
  141  whoever reads our output has gone
`hubctl run` exits as its command does; see `hubctl run --help`.
"""
_MAIN: Final = f"""\
examples:
  hubctl run --title "Nightly backup" -- pg_dump -f shop.sql shop
  hubctl notify --to alice "The delivery is here"
  hubctl listen group.dashboard

configuration, from the environment:
  HUB_URL         address of the hub
  HUB_API_KEY     key of a person, from the hub's settings or `manage.py apikey`
  HUB_ALLOW_HTTP  1: send the key to another machine without encryption
  HUBCTL_CONFIG   file to use in place of ~/.config/hubctl.toml
or from that file, which nobody else may be able to read (chmod 600):
  url = "https://hub.example.org"
  key = "…"

{_EXIT_CODES}"""
_RUN: Final = """\
The output goes where it would go without hubctl, and line by line into the job's log. The command
runs whether the hub answers or not. TERM, INT, QUIT, HUP, USR1 and USR2 are passed on. When the
job is cancelled in the hub, the command gets SIGTERM, and SIGKILL ten seconds later. Inside the
command `hubctl progress 30 100` moves the job's bar.

examples:
  hubctl run --title "Nightly backup" -- tar czf /backup/home.tar.gz /home
  hubctl run --key "backup-$(date +%F)" -- sh -c 'pg_dump shop | gzip > shop.sql.gz'
  0 3 * * *  hubctl run --title "Rotate" --report-for 600 -- logrotate /etc/logrotate.conf

exit codes:
  that of the command
  128+n  signal n killed the command
  126    the command can't be executed
  127    the command does not exist
  2      wrong use; nothing was run
"""
_PROGRESS: Final = """\
examples, in a script that `hubctl run` runs:
  hubctl progress 3 12 --note "orders.sql"
  hubctl progress 1500

Outside of `hubctl run` it does nothing, and the exit code is 0.
"""
_PUBLISH: Final = f"""\
examples:
  hubctl publish group.sales order.late '{{"title": "Order 7 is late"}}'
  jq -c . report.json | hubctl publish --key report-7 group.sales report.done -

{_EXIT_CODES}"""
_NOTIFY: Final = f"""\
examples:
  hubctl notify --to alice --to bob "The delivery is here"
  hubctl notify --team Warehouse --level warning --url /orders/7/ "Order 7 is late"

{_EXIT_CODES}"""
_LISTEN: Final = f"""\
After a cut it goes on with what was missed. `reset` says that this was not possible for a topic,
`revoked` that a topic may not be read. With --json each line is an object with "op": "event",
"reset", "revoked" or "whisper".

examples:
  hubctl listen
  hubctl listen group.sales --json --cursor-file sales.cursor | while read -r event; do …; done

{_EXIT_CODES}"""
_INBOX: Final = f"""\
examples:
  hubctl inbox --unread
  hubctl inbox read 1234
  hubctl inbox read all

{_EXIT_CODES}"""
_JOBS: Final = f"""\
examples:
  hubctl jobs list --state failed
  hubctl jobs log -f 6f1c9d1e-8d5b-4c58-9d3a-0f7f6f2f0a11
  hubctl jobs start staff.import file=@staff.csv dry_run=true

{_EXIT_CODES}"""

LEASES: Final = range(5, 3601)
Act = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every other error."""
        warn(f"{message}; see `{self.prog} --help`")
        sys.exit(Unusable.exit_code)


def main(argv: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    given = sys.argv[1:] if argv is None else argv
    given, command = _split(given)
    options = _parser().parse_args(given)
    options.command = command
    act: Act = options.act
    try:
        return act(options)
    except HubctlError as error:
        warn(error)
        return error.exit_code
    except UnicodeEncodeError:
        warn("an argument holds bytes that are no text")
        return Unusable.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
        return 141


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands behind the first `--` of `run` is the command, with its own options and its own `--`."""
    if given[:1] != ["run"] or "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hubctl",
        description="Hub from the command line.",
        epilog=_MAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hubctl {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(verbs)
    _add_progress(verbs)
    _add_publish(verbs)
    _add_notify(verbs)
    _add_listen(verbs)
    _add_inbox(verbs)
    _add_jobs(verbs)
    return parser


def _verb(
    verbs: argparse._SubParsersAction[_Parser], name: str, about: str, epilog: str
) -> _Parser:
    verb: _Parser = verbs.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return verb


def _add_run(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "run", "run a command as a job of the hub", _RUN)
    verb.usage = "hubctl run [--title TITLE] [options] -- COMMAND [ARGUMENT…]"
    verb.add_argument("--title", help="what the job is called; default: the command's name")
    verb.add_argument("--key", help="the same key again records nothing a second time")
    verb.add_argument(
        "--lease",
        type=_lease,
        default=60,
        metavar="SECONDS",
        help="of silence after which the hub counts the job as lost (5 to 3600; default 60)",
    )
    verb.add_argument(
        "--report-for",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="to go on trying to report the result, when the hub is away (default 60)",
    )
    verb.set_defaults(act=_run)


def _run(options: argparse.Namespace) -> int:
    if not options.command:
        raise Unusable("which command? Write it behind --: hubctl run --title Backup -- tar czf …")
    return run(
        Run(
            command=options.command,
            title=options.title,
            key=options.key,
            lease=options.lease,
            report_for=options.report_for,
        )
    )


def _add_progress(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "progress", "inside `hubctl run`: say how far the job is", _PROGRESS)
    verb.add_argument("done", type=_count, metavar="DONE")
    verb.add_argument("total", type=_count, metavar="TOTAL", nargs="?")
    verb.add_argument("--note", default="", help="what is being done")
    verb.set_defaults(act=_progress)


def _progress(options: argparse.Namespace) -> int:
    if path := os.environ.get(progress.VARIABLE):
        progress.tell(path, options.done, options.total, options.note)
    return 0


def _add_publish(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "publish", "publish an event", _PUBLISH)
    verb.add_argument("topic", metavar="TOPIC", help="group.<name>, or team.<id>")
    verb.add_argument("type", metavar="TYPE", help="like order.late")
    verb.add_argument("data", metavar="JSON", help="an object; - reads it from stdin")
    verb.add_argument("--key", help="the same key again publishes nothing")
    verb.set_defaults(act=_by_hub(lambda hub, o: send.publish(hub, o.topic, o.type, o.data, o.key)))


def _add_notify(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "notify", "put a notification into inboxes", _NOTIFY)
    verb.add_argument("--to", metavar="USER", action="append", default=[], help="a username")
    verb.add_argument("--team", metavar="NAME", action="append", default=[], help="its members")
    verb.add_argument("--everyone", action="store_true", help="all staff")
    verb.add_argument("title", metavar="TITLE")
    verb.add_argument("--body")
    verb.add_argument("--url", help="where a click leads")
    verb.add_argument("--level", choices=["info", "success", "warning", "error"])
    verb.add_argument("--kind", default="hubctl.message", help="default: %(default)s")
    verb.add_argument("--key", help="the same key again tells nobody")
    verb.set_defaults(act=_by_hub(_notify))


def _notify(hub: Hub, options: argparse.Namespace) -> int:
    names = ("kind", "title", "body", "url", "level", "key")
    return send.notify(
        hub,
        users=options.to,
        teams=options.team,
        everyone=options.everyone,
        content={name: getattr(options, name) for name in names if getattr(options, name)},
    )


def _add_listen(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "listen", "print events as they come", _LISTEN)
    verb.add_argument(
        "topics",
        metavar="TOPIC",
        nargs="*",
        type=_topic,
        help="default: the own one, all groups, the own teams",
    )
    verb.add_argument("--json", action="store_true", help="one JSON object per line")
    verb.add_argument("--whispers", action="store_true", help="also passing hints, like progress")
    verb.add_argument(
        "--cursor-file",
        type=Path,
        metavar="FILE",
        help="go on from where this file says, and note there how far it came",
    )
    verb.set_defaults(
        act=_by_hub(
            lambda hub, o: listen(hub, Listening(o.topics, o.json, o.whispers, o.cursor_file))
        )
    )


def _add_inbox(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "inbox", "show own notifications, newest first; * is unread", _INBOX)
    verb.add_argument("--unread", action="store_true", help="only those")
    verb.add_argument("--limit", type=_count, default=25, metavar="N", help="default 25")
    verb.add_argument("--json", action="store_true", help="one JSON object per line")
    verb.set_defaults(
        act=_by_hub(lambda hub, o: inbox.show(hub, unread=o.unread, limit=o.limit, as_json=o.json))
    )
    more = verb.add_subparsers(metavar="COMMAND")
    read = _verb(more, "read", "mark as read", "")
    read.add_argument("which", metavar="ID", help="or all")
    read.set_defaults(act=_by_hub(lambda hub, o: inbox.mark_read(hub, o.which)))


def _add_jobs(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _verb(verbs, "jobs", "look at jobs, follow, cancel, retry and start them", _JOBS)
    more = verb.add_subparsers(metavar="COMMAND")
    verb.set_defaults(
        act=_by_hub(
            lambda hub, o: jobs.show_many(hub, state=None, kind=None, limit=25, as_json=False)
        )
    )

    every = _verb(more, "list", "list jobs, newest first", "")
    every.add_argument("--state", choices=["queued", "started", *sorted(jobs.OVER)])
    every.add_argument("--kind", help="name of a task, or external")
    every.add_argument("--limit", type=_count, default=25, metavar="N", help="default 25")
    every.add_argument("--json", action="store_true", help="one JSON object per line")
    every.set_defaults(
        act=_by_hub(
            lambda hub, o: jobs.show_many(
                hub, state=o.state, kind=o.kind, limit=o.limit, as_json=o.json
            )
        )
    )

    one = _verb(more, "show", "show one job", "")
    one.add_argument("id", metavar="ID")
    one.add_argument("--json", action="store_true", help="as a JSON object")
    one.set_defaults(act=_by_hub(lambda hub, o: jobs.show(hub, o.id, as_json=o.json)))

    log = _verb(more, "log", "print the log of a job", "")
    log.add_argument("id", metavar="ID")
    log.add_argument("-f", "--follow", action="store_true", help="until the job has ended")
    log.set_defaults(act=_by_hub(lambda hub, o: jobs.show_log(hub, o.id, follow=o.follow)))

    cancel = _verb(more, "cancel", "ask a job to stop", "")
    cancel.add_argument("id", metavar="ID")
    cancel.set_defaults(act=_by_hub(lambda hub, o: jobs.cancel(hub, o.id)))

    again = _verb(more, "retry", "start a job that has ended once more", "")
    again.add_argument("id", metavar="ID")
    again.set_defaults(act=_by_hub(lambda hub, o: jobs.retry(hub, o.id)))

    start = _verb(more, "start", "start a task", "")
    start.add_argument("task", metavar="TASK", help="like staff.import")
    start.add_argument(
        "arguments",
        metavar="NAME=VALUE",
        nargs="*",
        help="NAME=@PATH is a file; true or false for a box to tick; NAME=A NAME=B for two choices",
    )
    start.add_argument("--key", help="the same key again starts nothing")
    start.add_argument("--json", action="store_true", help="as a JSON object")
    start.set_defaults(
        act=_by_hub(lambda hub, o: jobs.start(hub, o.task, o.arguments, o.key, as_json=o.json))
    )


def _by_hub(act: Callable[[Hub, argparse.Namespace], int]) -> Act:
    def acting(options: argparse.Namespace) -> int:
        with Hub(config.load()) as hub:
            return act(hub, options)

    return acting


def _lease(text: str) -> int:
    if not text.isdecimal() or int(text) not in LEASES:
        raise argparse.ArgumentTypeError(f"{text} is not in the range of 5 to 3600 seconds")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text} is no count")
    return int(text)


def _topic(text: str) -> str:
    if "," in text or not text:
        raise argparse.ArgumentTypeError(f"{text} is no topic; give several as words of their own")
    return text
