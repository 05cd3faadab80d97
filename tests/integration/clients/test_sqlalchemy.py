"""SQLAlchemy: ORM, introspection, isolation levels, asyncio over asyncpg, Alembic's migrations."""

import asyncio
import ssl
import textwrap

import pytest
import sqlalchemy as sa
from alembic import autogenerate, command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


@pytest.fixture
def engine(target):
    url = sa.engine.URL.create(
        "postgresql+psycopg2",
        target.user,
        target.password,
        target.host,
        target.port,
        target.database,
        query={"sslmode": "verify-full", "sslrootcert": target.ca, "hostaddr": "127.0.0.1"},
    )
    made = sa.create_engine(url, pool_size=5, pool_pre_ping=True)
    yield made
    made.dispose()


def test_sqlalchemy(engine, mode):
    base = orm.declarative_base(metadata=sa.MetaData(schema=f"orm_{mode}"))

    class Author(base):
        __tablename__ = "author"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String(50), nullable=False, unique=True)
        born = sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now())
        books = orm.relationship("Book", back_populates="author", cascade="all, delete-orphan")

    class Book(base):
        __tablename__ = "book"
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.Text, index=True)
        tags = sa.Column(sa.ARRAY(sa.Text))
        extra = sa.Column(sa.dialects.postgresql.JSONB)
        author_id = sa.Column(sa.ForeignKey(Author.id))
        author = orm.relationship(Author, back_populates="books")

    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP SCHEMA IF EXISTS orm_{mode} CASCADE"))
        connection.execute(sa.text(f"CREATE SCHEMA orm_{mode}"))
    base.metadata.create_all(engine)
    make_session = orm.sessionmaker(engine)
    with make_session.begin() as session:
        for n in range(20):
            books = [Book(title=f"t{n}-{i}", tags=["a", f"b{i}"], extra={"n": n}) for i in range(5)]
            session.add(Author(name=f"author {n}", books=books))
    with make_session() as session:
        found = session.execute(
            sa.select(Author.name, sa.func.count(Book.id))
            .join(Book)
            .group_by(Author.name)
            .where(Book.extra["n"].as_integer() >= 18)
            .order_by(Author.name)
        ).all()
        assert [tuple(row) for row in found] == [("author 18", 5), ("author 19", 5)]
        author = (
            session.query(Author)
            .options(orm.selectinload(Author.books))
            .filter_by(name="author 3")
            .one()
        )
        assert len(author.books) == 5
        session.delete(author)
        session.commit()
        session.add(Author(name="author 4"))
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()
        session.rollback()
        with session.begin_nested():
            session.add(Author(name="in a savepoint"))
        session.commit()
        assert session.query(Author).count() == 20
    inspector = sa.inspect(engine)
    schema = f"orm_{mode}"
    assert sorted(inspector.get_table_names(schema=schema)) == ["author", "book"]
    assert [c["name"] for c in inspector.get_columns("book", schema=schema)][:2] == ["id", "title"]
    assert inspector.get_foreign_keys("book", schema=schema)[0]["referred_table"] == "author"
    assert inspector.get_unique_constraints("author", schema=schema)
    assert inspector.get_indexes("book", schema=schema)
    reflected = sa.MetaData()
    reflected.reflect(engine, schema=schema)
    assert f"{schema}.book" in reflected.tables
    with engine.connect().execution_options(stream_results=True) as connection:
        rows = connection.execute(sa.select(Book.id))
        assert sum(1 for _ in rows) == 95
    base.metadata.drop_all(engine)


def test_sqlalchemy_isolation_levels(engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.execute(sa.text("SHOW transaction_isolation")).scalar() == "serializable"
    with engine.connect() as connection:
        assert (
            connection.execute(sa.text("SHOW transaction_isolation")).scalar() == "read committed"
        )


def test_asyncio(target, schema):
    """The dialect for asyncpg: prepared statements under names of SQLAlchemy's cache, in tasks."""
    base = orm.declarative_base(metadata=sa.MetaData(schema=schema))

    class Counter(base):
        __tablename__ = "counter"
        id = sa.Column(sa.Integer, primary_key=True)
        number = sa.Column(sa.BigInteger, nullable=False)
        seen = sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now())

    async def count(engine, turns):
        for _ in range(turns):
            async with AsyncSession(engine) as session, session.begin():
                row = await session.get(Counter, 1, with_for_update=True)
                row.number += 1

    async def main():
        url = sa.engine.URL.create(
            "postgresql+asyncpg",
            target.user,
            target.password,
            target.host,
            target.port,
            target.database,
        )
        context = ssl.create_default_context(cafile=target.ca)
        engine = create_async_engine(url, pool_size=4, connect_args={"ssl": context})
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with AsyncSession(engine) as session, session.begin():
            session.add_all(Counter(number=n * 10) for n in range(200))
        await asyncio.gather(*(count(engine, 10) for _ in range(8)))
        async with AsyncSession(engine) as session:
            counter = await session.get(Counter, 1)
            assert (counter.number, counter.seen.tzinfo is not None) == (80, True)
            with pytest.raises(sa.exc.IntegrityError):
                await session.execute(sa.insert(Counter).values(id=1, number=1))
            await session.rollback()
            result = await session.stream(sa.select(Counter.number).order_by(Counter.id))
            assert sum([row.number async for row in result]) == 80 + sum(range(0, 2000, 10))
        async with engine.connect() as connection:
            # DDL, and the same statement after it.
            await connection.execute(sa.text(f"ALTER TABLE {schema}.counter ADD COLUMN more int"))
            found = await connection.execute(sa.text(f"SELECT * FROM {schema}.counter LIMIT 1"))
            assert list(found.keys()) == ["id", "number", "seen", "more"]
        await engine.dispose()

    asyncio.run(asyncio.wait_for(main(), 60))


MIGRATIONS = {
    "env.py": """
        from alembic import context

        connection = context.config.attributes["connection"]
        schema = context.config.attributes["schema"]
        context.configure(
            connection=connection, version_table_schema=schema, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
    """,
    "versions/one.py": """
        import sqlalchemy as sa
        from alembic import context, op

        revision, down_revision = "one", None
        schema = context.config.attributes["schema"]


        def upgrade():
            table = op.create_table(
                "animal",
                sa.Column("id", sa.Integer, primary_key=True),
                sa.Column("name", sa.String(20), nullable=False),
                sa.Column("size", sa.Enum("small", "large", name="size", schema=schema)),
                schema=schema,
            )
            op.bulk_insert(table, [{"name": f"n{n}", "size": "small"} for n in range(50)])


        def downgrade():
            op.drop_table("animal", schema=schema)
            op.execute(f"DROP TYPE {schema}.size")
    """,
    "versions/two.py": """
        import sqlalchemy as sa
        from alembic import context, op

        revision, down_revision = "two", "one"
        schema = context.config.attributes["schema"]


        def upgrade():
            op.add_column(
                "animal", sa.Column("legs", sa.Integer, server_default="4"), schema=schema
            )
            op.alter_column("animal", "name", type_=sa.Text, schema=schema)
            with op.get_context().autocommit_block():
                op.execute(f"ALTER TYPE {schema}.size ADD VALUE 'huge'")
                op.create_index(
                    "animal_name", "animal", ["name"], schema=schema, postgresql_concurrently=True
                )


        def downgrade():
            op.drop_index("animal_name", schema=schema)
            op.alter_column("animal", "name", type_=sa.String(20), schema=schema)
            op.drop_column("animal", "legs", schema=schema)
    """,
    "versions/three.py": """
        from alembic import context, op

        revision, down_revision = "three", "two"
        schema = context.config.attributes["schema"]


        def upgrade():
            op.execute(f"UPDATE {schema}.animal SET legs = 0")
            op.execute(f"ALTER TABLE {schema}.animal ADD CONSTRAINT fails CHECK (legs > 0)")


        def downgrade():
            pass
    """,
}


def test_alembic(engine, schema, tmp_path):
    """Migrations forth and back, one that fails, and what the catalogs say in the end."""
    (tmp_path / "versions").mkdir()
    for name, text in MIGRATIONS.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    config = Config()
    config.set_main_option("script_location", str(tmp_path))

    def run(action, *arguments):
        with engine.connect() as connection:
            config.attributes.update(connection=connection, schema=schema)
            action(config, *arguments)

    def current():
        with engine.connect() as connection:
            return MigrationContext.configure(
                connection, opts={"version_table_schema": schema}
            ).get_current_revision()

    run(command.upgrade, "one")
    run(command.upgrade, "two")
    assert current() == "two"
    with pytest.raises(sa.exc.IntegrityError, match="fails"):
        run(command.upgrade, "head")
    assert current() == "two"
    with engine.connect() as connection:
        assert connection.scalar(sa.text(f"SELECT sum(legs) FROM {schema}.animal")) == 200
        metadata = sa.MetaData(schema=schema)
        sa.Table(
            "animal",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.Text, nullable=False, index=False),
            sa.Column("size", sa.Enum("small", "large", "huge", name="size", schema=schema)),
            sa.Column("legs", sa.Integer),
            sa.Column("wings", sa.Integer),
            sa.Index("animal_name", "name"),
        )
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == schema,
                "version_table_schema": schema,
            },
        )
        changes = autogenerate.compare_metadata(context, metadata)
    assert [(change[0], change[3].name) for change in changes] == [("add_column", "wings")], changes
    run(command.downgrade, "base")
    assert current() is None
    assert sa.inspect(engine).get_table_names(schema=schema) == ["alembic_version"]
