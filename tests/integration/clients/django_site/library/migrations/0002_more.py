"""Data and schema in one transaction, as migrations do it."""

from django.db import migrations, models


def number(apps, _):
    author = apps.get_model("library", "Author")
    author.objects.bulk_create(author(name=f"author {n}") for n in range(3))
    for row in author.objects.order_by("name"):
        row.initial = row.name[-1]
        row.save()


class Migration(migrations.Migration):
    dependencies = [("library", "0001_initial")]
    operations = [
        migrations.AddField("Author", "initial", models.CharField(max_length=1, default="")),
        migrations.RunPython(number, migrations.RunPython.noop),
        migrations.RunSQL(
            "CREATE VIEW prolific AS SELECT author_id FROM library_book; "
            "COMMENT ON VIEW prolific IS 'two statements; one text'",
            "DROP VIEW prolific",
        ),
    ]
