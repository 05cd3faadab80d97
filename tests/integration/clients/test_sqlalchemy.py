"""SQLAlchemy: ORM, introspection, isolation levels."""

import pytest
import sqlalchemy as sa
from sqlalchemy import orm


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
