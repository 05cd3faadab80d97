"""What PostgreSQL does outside a transaction only."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("library", "0002_more")]
    operations = [
        AddIndexConcurrently("Book", models.Index(fields=["-added"], name="book_added")),
        migrations.RenameField("Author", "initial", "letter"),
    ]
