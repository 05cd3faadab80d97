"""Models with what Django has for PostgreSQL: arrays, JSON, ranges, indexes, constraints."""

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField, DateTimeRangeField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
    born = models.DateField(null=True)
    user = models.ForeignKey(User, models.SET_NULL, null=True)
    letter = models.CharField(max_length=1, default="")


class Tag(models.Model):
    word = models.SlugField(primary_key=True)


class Book(models.Model):
    title = models.TextField(db_index=True)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag)
    pages = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    words = ArrayField(models.TextField(), default=list)
    extra = models.JSONField(default=dict)
    lent = DateTimeRangeField(null=True)
    cover = models.BinaryField(default=b"")
    added = models.DateTimeField(auto_now_add=True)
    shelf = models.UUIDField(null=True)

    class Meta:
        indexes = [
            GinIndex(fields=["extra"], name="book_extra"),
            models.Index(fields=["-added"], name="book_added"),
        ]
        constraints = [
            models.CheckConstraint(check=models.Q(pages__gt=0), name="book_has_pages"),
            models.UniqueConstraint(fields=["author", "title"], name="book_once"),
        ]
