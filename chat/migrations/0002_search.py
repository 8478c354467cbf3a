"""What messages are searched by.

SQLite: an FTS5 table of trigrams over the column `body`, kept by triggers. Whoever alters `hub_chat_message` there lets
Django make the table anew, which drops the triggers: make them again in that migration.
PostgreSQL: an index of trigrams. Where its extension is not to be had, search reads the messages themselves.
"""

import logging

from django.db import DatabaseError, migrations, transaction

logger = logging.getLogger(__name__)

SQLITE = (
    """
    CREATE VIRTUAL TABLE hub_chat_search USING fts5(
        body, content='hub_chat_message', content_rowid='id', tokenize='trigram'
    )
    """,
    """
    CREATE TRIGGER hub_chat_search_added AFTER INSERT ON hub_chat_message BEGIN
        INSERT INTO hub_chat_search(rowid, body) VALUES (new.id, new.body);
    END
    """,
    """
    CREATE TRIGGER hub_chat_search_changed AFTER UPDATE OF body ON hub_chat_message BEGIN
        INSERT INTO hub_chat_search(hub_chat_search, rowid, body) VALUES ('delete', old.id, old.body);
        INSERT INTO hub_chat_search(rowid, body) VALUES (new.id, new.body);
    END
    """,
    """
    CREATE TRIGGER hub_chat_search_removed AFTER DELETE ON hub_chat_message BEGIN
        INSERT INTO hub_chat_search(hub_chat_search, rowid, body) VALUES ('delete', old.id, old.body);
    END
    """,
    "INSERT INTO hub_chat_search(hub_chat_search) VALUES ('rebuild')",
)
SQLITE_BACK = (
    "DROP TRIGGER hub_chat_search_added",
    "DROP TRIGGER hub_chat_search_changed",
    "DROP TRIGGER hub_chat_search_removed",
    "DROP TABLE hub_chat_search",
)
POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    CREATE INDEX hub_message_parts ON hub_chat_message USING gin (UPPER(body) gin_trgm_ops)
        WHERE deleted_at IS NULL
    """,
)
POSTGRESQL_BACK = ("DROP INDEX IF EXISTS hub_message_parts",)


def index(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "sqlite":
        execute(connection, SQLITE)
        return
    try:
        with transaction.atomic(using=connection.alias):
            execute(connection, POSTGRESQL)
    except DatabaseError as error:
        logger.warning(
            "Search in chat rooms will be slow: no index of trigrams can be made (%s). Have the database's owner "
            "install pg_trgm, then make hub_message_parts as chat/migrations/0002_search.py has it.",
            str(error).strip().partition("\n")[0],
        )


def no_index(apps, schema_editor):
    connection = schema_editor.connection
    execute(connection, SQLITE_BACK if connection.vendor == "sqlite" else POSTGRESQL_BACK)


def execute(connection, statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("hub_chat", "0001_initial")]
    operations = [migrations.RunPython(index, no_index)]
