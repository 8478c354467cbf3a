from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("hub_chat", "0002_search")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", True)),
                fields=["room", "id", "author", "deleted_at"],
                name="hub_message_counted",
            ),
        ),
    ]
