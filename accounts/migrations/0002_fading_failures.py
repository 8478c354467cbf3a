from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("hub_accounts", "0001_initial")]

    operations = [
        migrations.AlterField("place", "failures", models.FloatField(default=0)),
    ]
