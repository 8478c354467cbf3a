"""When each room was last active, which lists go by."""

import django.utils.timezone
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Coalesce


def look_up(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    newest = apps.get_model("hub_chat", "Message").objects.filter(pk=OuterRef("last_message"))
    active = Coalesce(Subquery(newest.values("created_at")), F("created_at"))
    apps.get_model("hub_chat", "Room").objects.update(active_at=active)


class Migration(migrations.Migration):
    dependencies = [("hub_chat", "0003_counted")]

    operations = [
        migrations.AddField(
            model_name="room",
            name="active_at",
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False),
        ),
        migrations.RunPython(look_up, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="room", name="hub_room_existing"),
        migrations.AddIndex(
            model_name="room",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", True)),
                fields=["kind", "-active_at", "-id"],
                name="hub_room_active",
            ),
        ),
    ]
