"""Django through Signalbox: settings by the environment (settings.py), one line `ok` at the end."""

import datetime
import decimal
import io
import json
import os
import pathlib
import tempfile
import threading
import time
import uuid

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django  # noqa: E402

django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402
from django.contrib.postgres.aggregates import ArrayAgg, StringAgg  # noqa: E402
from django.contrib.postgres.search import SearchVector  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction, utils  # noqa: E402
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, Sum, Window  # noqa: E402
from django.db.models.functions import Rank, TruncYear  # noqa: E402
from library.models import Author, Book, Tag  # noqa: E402
from lines import models as lines  # noqa: E402
from psycopg2.extras import DateTimeTZRange  # noqa: E402


def manage(*words, **options):
    """A management command's output."""
    out = io.StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue()


def raises(kind, text=""):
    """A context that wants `kind`, with `text` in its message."""

    class Expectation:
        def __enter__(self):
            return self

        def __exit__(self, found, error, _):
            assert found is not None and issubclass(found, kind), f"{kind}: {error!r}"
            assert text in str(error), error
            self.error = error
            return True

    return Expectation()


def tables():
    return set(connection.introspection.table_names())


def run(sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def migrations():
    manage("migrate", verbosity=0)
    assert {"library_book", "library_book_tags", "auth_user", "django_session"} <= tables()
    assert "[ ]" not in manage("showmigrations", no_color=True)
    assert "No changes detected" in manage("makemigrations", check=True, dry_run=True)
    assert sorted(Author.objects.values_list("name", "letter")) == [
        (f"author {n}", str(n)) for n in range(3)
    ]
    assert Permission.objects.filter(content_type__app_label="library").count() == 12
    # Back and forth, and all of it anew.
    manage("migrate", "library", "0001", verbosity=0)
    assert "book_added" not in constraints("library_book")
    manage("migrate", "library", "zero", verbosity=0)
    assert not {name for name in tables() if name.startswith("library_")}
    manage("migrate", verbosity=0)
    assert "CREATE INDEX CONCURRENTLY" in manage("sqlmigrate", "library", "0003", no_color=True)
    manage("createcachetable")
    # A deferred foreign key whose check is pending forbids DDL in the same transaction.
    with raises(utils.OperationalError, "pending trigger events"), transaction.atomic():
        Book.objects.create(title="lost", author_id=10**6)
        with connection.schema_editor() as editor:
            added = models.IntegerField(null=True)
            added.set_attributes_from_name("later")
            editor.add_field(Book, added)
    assert not Book.objects.exists()


def constraints(table):
    with connection.cursor() as cursor:
        return connection.introspection.get_constraints(cursor, table)


def introspection():
    found = constraints("library_book")
    assert found["book_has_pages"]["check"] and found["book_once"]["unique"]
    assert found["book_extra"]["type"] == "gin" and found["book_added"]["orders"] == ["DESC"]
    keys = {tuple(c["columns"]): c["foreign_key"] for c in found.values() if c["foreign_key"]}
    assert keys == {("author_id",): ("library_author", "id")}
    with connection.cursor() as cursor:
        (sequence,) = connection.introspection.get_sequences(cursor, "library_book")
        assert (sequence["table"], sequence["column"]) == ("library_book", "id")
    text = manage("inspectdb", "library_book", "library_author", "prolific", include_views=True)
    assert "class LibraryBook(models.Model)" in text and "extra = models.JSONField()" in text
    assert "author = models.ForeignKey('LibraryAuthor', models.DO_NOTHING)" in text, text
    assert "class Prolific(models.Model)" in text and "Unable to inspect" not in text, text


def rows():
    Author.objects.all().delete()
    author = Author.objects.create(name="Ä. Author", born=datetime.date(1950, 2, 28))
    lent = DateTimeTZRange(
        datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        datetime.datetime(2020, 2, 1, tzinfo=datetime.timezone.utc),
    )
    shelf = uuid.uuid4()
    book = Book.objects.create(
        title="It's 100 %",
        author=author,
        words=["a", "b,c", 'd"e', "ü"],
        extra={"deep": {"list": [1, None, "x"]}},
        lent=lent,
        cover=bytes(range(256)),
        price=decimal.Decimal("12.30"),
        shelf=shelf,
    )
    found = Book.objects.get(pk=book.pk)
    assert found.words == ["a", "b,c", 'd"e', "ü"]
    assert found.extra["deep"]["list"] == [1, None, "x"]
    assert found.lent == lent and bytes(found.cover) == bytes(range(256))
    assert (found.price, found.shelf) == (decimal.Decimal("12.30"), shelf)
    assert abs(found.added - django.utils.timezone.now()) < datetime.timedelta(minutes=1)
    assert Book.objects.filter(extra__deep__list__0=1, words__contains=["a"]).exists()
    assert Book.objects.filter(lent__contains=lent.lower, title__icontains="IT'S 100 %").exists()
    assert not Book.objects.filter(Q(words__overlap=["z"]) | Q(extra__has_key="nothing")).exists()

    Author.objects.bulk_create([Author(name=f"a{n:03}") for n in range(50)], batch_size=20)
    authors = list(Author.objects.filter(name__startswith="a").order_by("name"))
    made = Book.objects.bulk_create(
        Book(title=f"t{n}", author=authors[n % 50], pages=n + 1) for n in range(500)
    )
    assert len({book.pk for book in made}) == 500
    made[0].tags.add(*[Tag.objects.create(word=word) for word in ("one", "two")])
    ignored = Author.objects.bulk_create([Author(name="a000")], ignore_conflicts=True)
    assert len(ignored) == 1 and Author.objects.filter(name="a000").count() == 1
    for book in made[:10]:
        book.pages = F("pages") + 1000
    Book.objects.bulk_update(made[:10], ["pages"])
    assert Book.objects.aggregate(Sum("pages"))["pages__sum"] == 500 * 501 // 2 + 10000 + 1
    assert Author.objects.update_or_create(name="a000", defaults={"born": None})[1] is False
    assert Author.objects.get_or_create(name="new one")[1] is True

    query = authors_with_books()
    assert [(a.name, a.number, a.titles[:2]) for a in query[:2]] == [
        ("a000", 10, ["t0", "t100"]),
        ("a001", 10, ["t1", "t101"]),
    ]
    ranked = Book.objects.annotate(
        rank=Window(Rank(), partition_by=F("author"), order_by=F("pages").desc())
    )
    assert sum(book.rank == 1 for book in ranked) == 51
    years = Book.objects.annotate(year=TruncYear("added")).values("year").annotate(n=Count("pk"))
    assert sum(year["n"] for year in years) == 501
    prefetched = Author.objects.prefetch_related(
        Prefetch("books", Book.objects.prefetch_related("tags").order_by("pk"))
    ).get(name="a000")
    assert {tag.pk for tag in prefetched.books.all()[0].tags.all()} == {"one", "two"}
    search = Book.objects.annotate(search=SearchVector("title")).filter(search="100")
    assert [book.title for book in search] == ["It's 100 %"]
    words = Tag.objects.aggregate(all=StringAgg("word", ";", ordering="word"))
    assert words["all"] == "one;two"
    both = Book.objects.filter(pages=1).union(Book.objects.filter(pages__gt=1005))
    assert both.count() == 6
    assert "Seq Scan" in Book.objects.filter(pages=5).explain(analyze=True)
    raw = Author.objects.raw("SELECT id, name FROM library_author WHERE name = %s", ["a001"])
    assert [a.name for a in raw] == ["a001"]
    assert connection.cursor().execute("SELECT '%'") is None


def authors_with_books():
    return (
        Author.objects.annotate(
            number=Count("books"), titles=ArrayAgg("books__title", ordering="books__title")
        )
        .filter(Exists(Book.objects.filter(author=OuterRef("pk"), pages__gt=1)))
        .filter(name__startswith="a")
        .order_by("name")
    )


def cursors():
    """iterator() is a cursor: WITH HOLD outside a transaction, without it inside one."""
    assert sum(1 for _ in Book.objects.iterator(chunk_size=50)) == 501
    for _ in range(5):
        rows = Book.objects.order_by("pk").iterator(chunk_size=10)
        assert [next(rows).pages for _ in range(3)][0] in (1, 1001)
        # Other statements while it is open.
        assert Author.objects.count() == 52
        rows.close()
    with transaction.atomic():
        assert sum(1 for _ in Book.objects.iterator(chunk_size=7)) == 501
    assert run("SELECT count(*) FROM pg_cursors") == [(0,)]


def transactions():
    done = []
    with transaction.atomic():
        Author.objects.create(name="outer")
        with raises(utils.IntegrityError, "library_author_name"), transaction.atomic():
            Author.objects.create(name="outer")
        with raises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="inner")
            raise ZeroDivisionError
        transaction.on_commit(lambda: done.append(Author.objects.get(name="outer").name))
        assert not done
    assert done == ["outer"] and not Author.objects.filter(name="inner").exists()
    with raises(utils.IntegrityError, "book_has_pages"):
        Book.objects.filter(title="t1").update(pages=0)
    with raises(utils.IntegrityError, "foreign key"), transaction.atomic():
        Book.objects.create(title="x", author_id=10**6)
        assert Book.objects.filter(title="x").exists()  # the constraint is deferred
    with raises(utils.DataError, "out of range"):
        Book.objects.filter(title="t1").update(pages=2**40)
    with raises(utils.InternalError, "current transaction is aborted"), transaction.atomic():
        with raises(utils.ProgrammingError):
            run("SELECT nonsense")
        Author.objects.count()
    transaction.set_autocommit(False)
    Author.objects.filter(name="outer").delete()
    transaction.rollback()
    transaction.set_autocommit(True)
    assert Author.objects.filter(name="outer").exists()


def locks():
    """Threads with connections of their own, which wait for each other's rows."""
    book = Book.objects.get(title="t2")
    failures = []

    def work():
        try:
            for _ in range(10):
                with transaction.atomic():
                    mine = Book.objects.select_for_update().get(pk=book.pk)
                    mine.pages += 1
                    mine.save(update_fields=["pages"])
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    with transaction.atomic():
        taken = Book.objects.select_for_update(skip_locked=True, of=("self",)).get(title="t3")
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert taken.title == "t3" and Book.objects.get(pk=book.pk).pages == book.pages + 60
    # The session's time zone is the session's: it is set once, at connect.
    assert run("SHOW timezone") == [("UTC",)]


def contrib():
    manage("createsuperuser", interactive=False, username="root", email="root@example.org")
    user = User.objects.create_user("reader", password="secret word")
    assert user.check_password("secret word")
    user.user_permissions.add(Permission.objects.get(codename="view_book"))
    assert User.objects.get(username="reader").has_perm("library.view_book")
    session = SessionStore()
    session["cart"] = [1, 2]
    session.create()
    assert SessionStore(session.session_key)["cart"] == [1, 2]
    manage("clearsessions")
    cache.set("key", {"value": b"\0\xff"}, 60)
    cache.set("key", {"value": b"\0\xfe"}, 60)
    assert cache.get("key") == {"value": b"\0\xfe"} and cache.add("key", 1) is False
    assert cache.get_or_set("other", 5) == 5 and cache.incr("other") == 6


def fixtures():
    """dumpdata reads by cursors, loaddata writes in one transaction and sets the sequences."""
    Book.objects.filter(pages__range=(50, 1000)).delete()
    books = list(Book.objects.order_by("pk").values_list("pk", "title", "extra"))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "all.json")
        manage("dumpdata", "library", output=str(file), verbosity=0)
        assert len(json.loads(file.read_text())) == Book.objects.count() + 53 + 2
        manage("flush", interactive=False, verbosity=0)
        assert not Book.objects.exists()
        manage("loaddata", str(file), verbosity=0)
    assert list(Book.objects.order_by("pk").values_list("pk", "title", "extra")) == books
    added = Book.objects.create(title="after", author=Author.objects.first())
    assert added.pk == books[-1][0] + 1


def driver():
    """What is reached through Django's cursor: COPY, notices, a cancel."""
    with connection.cursor() as cursor:
        out = io.StringIO()
        names = "SELECT name FROM library_author ORDER BY 1 LIMIT 2"
        cursor.copy_expert(f"COPY ({names}) TO STDOUT", out)
        assert out.getvalue() == "a000\na001\n"
        cursor.copy_expert("COPY library_tag FROM STDIN", io.StringIO("copied\n"))
        words = [(f"many-{n}",) for n in range(9)]
        cursor.executemany("INSERT INTO library_tag VALUES (%s)", words)
        cursor.execute("SELECT 1; SELECT 2")
        assert cursor.fetchall() == [(2,)]
        cursor.callproc("upper", ["called"])
        assert cursor.fetchone() == ("CALLED",)
    assert Tag.objects.filter(word__in=["copied", "many-8"]).count() == 2
    timer = threading.Timer(0.5, connection.connection.cancel)
    timer.start()
    with raises(utils.OperationalError, "canceling statement due to user request"):
        run("SELECT pg_sleep(30)")
    assert run("SELECT 1") == [(1,)]
    run("SET statement_timeout = '200ms'")
    with raises(utils.OperationalError, "statement timeout"):
        run("SELECT pg_sleep(30)")
    run("RESET statement_timeout")
    (address,) = run("SELECT current_setting('search_path')")[0]
    assert address == os.environ["DJANGO_SCHEMA"]


def tables_of_signalbox():
    """The relations of mz_catalog and mz_internal as models."""
    deadline = time.monotonic() + 10
    while not lines.Event.objects.filter(connection__name="main").exists():
        assert time.monotonic() < deadline, "main has no history"
        time.sleep(0.05)
    main = lines.Connection.objects.get(name="main")
    assert main.type == "postgres" and main.created_at.tzinfo is not None
    assert "SECRET" in main.create_sql and os.environ["PGPASSWORD"] not in main.create_sql
    status = lines.Status.objects.select_related("connection").get(connection__name="main")
    assert (status.name, status.status, status.error) == ("main", "available", None)
    assert status.connection == main
    events = lines.Event.objects.filter(connection=main).order_by("-occurred_at")
    assert events[0].status == "available" and events[0].occurred_at.tzinfo is not None
    assert events.first().occurred_at <= status.last_status_change_at
    assert [event.status for event in main.events.all()][-1] == "available"
    counted = lines.Connection.objects.annotate(n=Count("events")).values_list("name", "n")
    assert dict(counted)["main"] == events.count() >= 1
    prefetched = lines.Connection.objects.prefetch_related("events").get(pk=main.pk)
    assert len(prefetched.events.all()) == events.count()
    last = lines.Event.objects.filter(connection=OuterRef("pk")).order_by("-occurred_at")
    found = lines.Connection.objects.annotate(
        last=models.Subquery(last.values("status")[:1]), seen=Exists(last)
    ).get(seen=True, name="main")
    assert found.last == "available"
    assert [row.name for row in lines.Connection.objects.iterator(chunk_size=1)].count("main") == 1
    with transaction.atomic():
        assert lines.Event.objects.in_bulk(field_name="occurred_at")
        assert [row.status for row in lines.Status.objects.iterator()].count("available") >= 1
    assert list(lines.Status.objects.dates("last_status_change_at", "year"))
    joined = Author.objects.annotate(
        line=models.Subquery(lines.Connection.objects.filter(name="main").values("type")[:1])
    )
    assert joined.first().line == "postgres"
    assert "cost=" in lines.Connection.objects.filter(name="main").explain()
    for empty in (lines.PrivateLink, lines.PrivateLinkStatus, lines.PrivateLinkEvent):
        assert list(empty.objects.all()) == [] and empty.objects.count() == 0
    # They are read, never written.
    for write in (
        lambda: lines.Connection.objects.filter(name="main").update(name="other"),
        lambda: lines.Event.objects.all()._raw_delete("default"),
        lambda: lines.PrivateLink.objects.create(id="u1", principal="x"),
        lambda: lines.Status.objects.select_for_update().first(),
    ):
        with raises(utils.ProgrammingError) as refusal, transaction.atomic():
            write()
        assert refusal.error.__cause__.pgcode == "42501", refusal.error
    assert lines.Connection.objects.get(pk=main.pk).name == "main"


def main():
    assert run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(False,)]
    assert connection.connection.info.ssl_in_use  # the client's side of Signalbox is encrypted
    migrations()
    introspection()
    rows()
    cursors()
    transactions()
    locks()
    contrib()
    fixtures()
    driver()
    tables_of_signalbox()
    connection.close()
    print("ok")


if __name__ == "__main__":
    main()
