// Hibernate over HikariCP and pgjdbc through Signalbox: arguments URL, user, password, schema; `ok` at the end.

import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Index;
import jakarta.persistence.LockModeType;
import jakarta.persistence.ManyToOne;
import jakarta.persistence.OneToMany;
import jakarta.persistence.CascadeType;
import jakarta.persistence.OptimisticLockException;
import jakarta.persistence.PersistenceException;
import jakarta.persistence.SequenceGenerator;
import jakarta.persistence.Table;
import jakarta.persistence.Version;
import java.math.BigDecimal;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import org.hibernate.ScrollMode;
import org.hibernate.ScrollableResults;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.StatelessSession;
import org.hibernate.annotations.CreationTimestamp;
import org.hibernate.annotations.Immutable;
import org.hibernate.annotations.JdbcTypeCode;
import org.hibernate.cfg.Configuration;
import org.hibernate.type.SqlTypes;

public class Hibernate {
    public enum Mood { GLAD, SAD }

    @Entity(name = "Author")
    @Table(name = "author", indexes = @Index(name = "author_born", columnList = "born"))
    public static class Author {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        Long id;

        @Column(unique = true, nullable = false, length = 50)
        String name;

        @JdbcTypeCode(SqlTypes.NAMED_ENUM)
        Mood mood = Mood.GLAD;

        @CreationTimestamp
        Instant born;

        @OneToMany(mappedBy = "author", cascade = CascadeType.ALL, orphanRemoval = true)
        List<Book> books = new ArrayList<>();

        public Author() {}

        Author(String name) {
            this.name = name;
        }
    }

    @Entity(name = "Book")
    @Table(name = "book")
    public static class Book {
        @Id
        @GeneratedValue(generator = "book_ids")
        @SequenceGenerator(name = "book_ids", sequenceName = "book_ids", allocationSize = 50)
        Long id;

        String title;
        UUID shelf = UUID.randomUUID();
        BigDecimal price = new BigDecimal("12.30");
        String[] tags = {"a", "b,c", "ü\""};
        byte[] cover = {0, -1};
        int pages = 1;

        @Version
        int version;

        @ManyToOne(optional = false)
        Author author;

        public Book() {}

        Book(String title, Author author) {
            this.title = title;
            this.author = author;
        }
    }

    @Entity(name = "Line")
    @Immutable
    @Table(name = "mz_connections", schema = "mz_catalog")
    public static class Line {
        @Id
        String id;

        String name;
        String type;
        long generation;

        @Column(name = "created_at")
        Instant createdAt;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static <T extends Throwable> void expect(Class<T> kind, Callable<?> action) throws Exception {
        try {
            action.call();
        } catch (Throwable error) {
            check(kind.isInstance(error), error.toString());
            return;
        }
        throw new AssertionError(kind + " was not thrown");
    }

    static SessionFactory open(String[] arguments, String ddl, Class<?>... entities) {
        Configuration configuration = new Configuration()
                .setProperty("hibernate.connection.url", arguments[0])
                .setProperty("hibernate.connection.username", arguments[1])
                .setProperty("hibernate.connection.password", arguments[2])
                .setProperty("hibernate.hbm2ddl.auto", ddl)
                .setProperty("hibernate.default_schema", arguments[3])
                .setProperty("hibernate.jdbc.batch_size", "50")
                .setProperty("hibernate.order_inserts", "true")
                .setProperty("hibernate.hikari.maximumPoolSize", "5")
                .setProperty("hibernate.hikari.connectionTimeout", "20000");
        for (Class<?> entity : entities) {
            configuration.addAnnotatedClass(entity);
        }
        return configuration.buildSessionFactory();
    }

    // The schema is made, then compared with the catalogs, then altered after a column was taken away.
    static SessionFactory schema(String[] arguments) {
        try (SessionFactory made = open(arguments, "create", Author.class, Book.class)) {
            made.inTransaction(session -> session.persist(new Author("lost with the next create")));
        }
        open(arguments, "create", Author.class, Book.class).close();
        try (SessionFactory valid = open(arguments, "validate", Author.class, Book.class)) {
            valid.inTransaction(session -> session
                    .createNativeMutationQuery("ALTER TABLE " + arguments[3] + ".book DROP COLUMN pages")
                    .executeUpdate());
        }
        try {
            open(arguments, "validate", Author.class, Book.class).close();
            throw new AssertionError("a missing column was not found");
        } catch (PersistenceException error) {
            check(error.getMessage().contains("missing column [pages]"), error.toString());
        }
        open(arguments, "update", Author.class, Book.class).close();
        return open(arguments, "validate", Author.class, Book.class);
    }

    static void rows(SessionFactory factory) throws Exception {
        factory.inTransaction(session -> {
            for (int a = 0; a < 20; a++) {
                Author author = new Author("author " + a);
                for (int b = 0; b < 50; b++) {
                    author.books.add(new Book("title " + b, author));
                }
                session.persist(author);
            }
        });
        factory.inSession(session -> {
            Book book = session.createQuery("from Book where title = :title and author.name = :name", Book.class)
                    .setParameter("title", "title 3").setParameter("name", "author 7").getSingleResult();
            check(Arrays.equals(book.tags, new String[] {"a", "b,c", "ü\""}), "array");
            check(Arrays.equals(book.cover, new byte[] {0, -1}), "bytea");
            check(book.price.compareTo(new BigDecimal("12.3")) == 0 && book.shelf != null, "values");
            check(book.author.mood == Mood.GLAD && book.author.born != null, "enum");
            List<Author> fetched = session.createQuery(
                    "select a from Author a join fetch a.books where a.mood = :mood order by a.id", Author.class)
                    .setParameter("mood", Mood.GLAD).setMaxResults(5).getResultList();
            check(fetched.size() == 5 && fetched.get(0).books.size() == 50, "join fetch");
            List<Object[]> counted = session.createQuery(
                    "select a.name, count(b) from Author a left join a.books b group by a.name", Object[].class)
                    .getResultList();
            check(counted.size() == 20, "group by");
        });
        // A driver's cursor: portals with a row limit, another statement between.
        factory.inTransaction(session -> {
            int seen = 0;
            try (ScrollableResults<Book> books = session.createQuery("from Book", Book.class)
                    .setFetchSize(30).scroll(ScrollMode.FORWARD_ONLY)) {
                while (books.next()) {
                    seen++;
                    if (seen % 400 == 0) {
                        session.createQuery("select count(*) from Author", Long.class).getSingleResult();
                    }
                }
            }
            check(seen == 1000, "scroll " + seen);
        });
        expect(PersistenceException.class, () -> factory.fromTransaction(session -> {
            session.persist(new Author("author 1"));
            return null;
        }));
        try (StatelessSession session = factory.openStatelessSession()) {
            var transaction = session.beginTransaction();
            session.insert(new Author("stateless"));
            int changed = session.createMutationQuery("update Book set pages = pages + 1 where title = 'title 1'")
                    .executeUpdate();
            check(changed == 20, "update");
            transaction.commit();
        }
    }

    static void locks(SessionFactory factory) throws Exception {
        Long id = factory.fromSession(session -> session
                .createQuery("select min(id) from Book", Long.class).getSingleResult());
        // The second of two that have read the same version loses.
        expect(OptimisticLockException.class, () -> {
            try (Session first = factory.openSession(); Session second = factory.openSession()) {
                var one = first.beginTransaction();
                var two = second.beginTransaction();
                first.find(Book.class, id).pages = 10;
                second.find(Book.class, id).pages = 20;
                one.commit();
                try {
                    two.commit();
                } catch (RuntimeException error) {
                    two.rollback();
                    throw error;
                }
            }
            return null;
        });
        try (var threads = new AutoCloseable() {
            final java.util.concurrent.ExecutorService pool = Executors.newFixedThreadPool(8);

            @Override
            public void close() {
                pool.shutdownNow();
            }
        }) {
            List<Callable<Void>> work = new ArrayList<>();
            for (int n = 0; n < 40; n++) {
                work.add(() -> {
                    factory.inTransaction(session ->
                            session.find(Book.class, id, LockModeType.PESSIMISTIC_WRITE).pages++);
                    return null;
                });
            }
            for (var done : threads.pool.invokeAll(work)) {
                done.get();
            }
        }
        check(factory.fromSession(session -> session.find(Book.class, id).pages) == 50, "locks");
    }

    static void signalbox(String[] arguments) throws Exception {
        try (SessionFactory factory = open(arguments, "none", Line.class)) {
            for (int n = 0; n < 6; n++) {  // more than pgjdbc's prepareThreshold
                Line line = factory.fromSession(session -> session
                        .createQuery("from Line where name = :name", Line.class)
                        .setParameter("name", "main").getSingleResult());
                check(line.type.equals("postgres") && line.createdAt != null, "mz_connections");
            }
            expect(PersistenceException.class, () -> factory.fromTransaction(session -> session
                    .createNativeMutationQuery("DELETE FROM mz_catalog.mz_connections").executeUpdate()));
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (SessionFactory factory = schema(arguments)) {
            rows(factory);
            locks(factory);
        }
        signalbox(arguments);
        System.out.println("ok");
    }
}
