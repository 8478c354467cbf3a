from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("hub_events", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="event",
            name="about",
            field=models.CharField(max_length=100, null=True),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("about__isnull", False)),
                fields=["about"],
                name="hub_event_about",
            ),
        ),
    ]
