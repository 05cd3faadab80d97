"""The first state of the models."""

import django.contrib.postgres.fields as postgres
from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models


def key():
    return models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )


class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [
        migrations.CreateModel(
            "Author",
            [
                ("id", key()),
                ("name", models.CharField(max_length=50, unique=True)),
                ("born", models.DateField(null=True)),
                (
                    "user",
                    models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True),
                ),
            ],
        ),
        migrations.CreateModel(
            "Tag", [("word", models.SlugField(primary_key=True, serialize=False))]
        ),
        migrations.CreateModel(
            "Book",
            [
                ("id", key()),
                ("title", models.TextField(db_index=True)),
                ("pages", models.PositiveIntegerField(default=1)),
                ("price", models.DecimalField(decimal_places=2, default=0, max_digits=8)),
                ("words", postgres.ArrayField(models.TextField(), default=list)),
                ("extra", models.JSONField(default=dict)),
                ("lent", postgres.DateTimeRangeField(null=True)),
                ("cover", models.BinaryField(default=b"")),
                ("added", models.DateTimeField(auto_now_add=True)),
                ("shelf", models.UUIDField(null=True)),
                ("author", models.ForeignKey("Author", models.CASCADE, related_name="books")),
                ("tags", models.ManyToManyField("Tag")),
            ],
        ),
        migrations.AddIndex("Book", GinIndex(fields=["extra"], name="book_extra")),
        migrations.AddConstraint(
            "Book", models.CheckConstraint(check=models.Q(pages__gt=0), name="book_has_pages")
        ),
        migrations.AddConstraint(
            "Book", models.UniqueConstraint(fields=("author", "title"), name="book_once")
        ),
    ]
