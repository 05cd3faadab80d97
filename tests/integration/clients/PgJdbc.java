// pgjdbc through Signalbox: arguments URL, user, password; one line `ok` at the end.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class PgJdbc extends JdbcChecks {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", arguments[1]);
        properties.setProperty("password", arguments[2]);
        // Server-side prepared statements from the first execution on.
        properties.setProperty("prepareThreshold", "1");
        properties.setProperty("preparedStatementCacheQueries", "5");
        try (Connection connection = DriverManager.getConnection(arguments[0], properties)) {
            check(connection.getMetaData().getDatabaseMajorVersion() == 15, "version");

            execute(connection, "DROP TABLE IF EXISTS jdbc_rows");
            execute(connection, "CREATE TABLE jdbc_rows (id int PRIMARY KEY, note text, at timestamptz)");

            // More prepared statements than the driver keeps: it closes old ones by itself.
            for (int turn = 0; turn < 3; turn++) {
                for (int n = 0; n < 12; n++) {
                    try (PreparedStatement prepared = connection.prepareStatement("SELECT ? * " + n)) {
                        prepared.setInt(1, turn + 2);
                        try (ResultSet rows = prepared.executeQuery()) {
                            rows.next();
                            check(rows.getInt(1) == (turn + 2) * n, "prepared");
                        }
                    }
                }
            }

            // Batches are one pipeline.
            connection.setAutoCommit(false);
            try (PreparedStatement insert =
                    connection.prepareStatement("INSERT INTO jdbc_rows VALUES (?, ?, now())")) {
                for (int i = 0; i < 1000; i++) {
                    insert.setInt(1, i);
                    insert.setString(2, "note " + i);
                    insert.addBatch();
                }
                int[] counts = insert.executeBatch();
                check(counts.length == 1000, "batch");
            }
            connection.commit();
            check(number(connection, "SELECT count(*) FROM jdbc_rows") == 1000, "rows");

            // A batch that fails midway.
            try (PreparedStatement insert =
                    connection.prepareStatement("INSERT INTO jdbc_rows (id) VALUES (?)")) {
                for (int i = 0; i < 500; i++) {
                    insert.setInt(1, 2000 + i % 400);
                    insert.addBatch();
                }
                insert.executeBatch();
                throw new AssertionError("the batch did not fail");
            } catch (java.sql.BatchUpdateException error) {
                check("23505".equals(error.getSQLState()), "batch: " + error.getSQLState());
            }
            connection.rollback();
            check(number(connection, "SELECT count(*) FROM jdbc_rows") == 1000, "rolled back");

            // A cursor: portals with a row limit.
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(50);
                long sum = 0;
                try (ResultSet rows = statement.executeQuery("SELECT id FROM jdbc_rows")) {
                    while (rows.next()) {
                        sum += rows.getInt(1);
                    }
                }
                check(sum == 499500, "cursor");
            }

            Savepoint savepoint = connection.setSavepoint();
            expect("22012", connection, "SELECT 1/0", "division");
            connection.rollback(savepoint);
            check(number(connection, "SELECT 1") == 1, "savepoint");
            connection.commit();

            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            connection.setReadOnly(true);
            expect("25006", connection, "DELETE FROM jdbc_rows", "read only");
            connection.rollback();
            connection.setReadOnly(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            connection.setAutoCommit(true);

            // COPY.
            PGConnection postgres = connection.unwrap(PGConnection.class);
            long copied = postgres.getCopyAPI()
                    .copyIn("COPY jdbc_rows (id, note) FROM STDIN", new StringReader("5000\tcopied\n"));
            check(copied == 1, "copy in");
            StringWriter out = new StringWriter();
            postgres.getCopyAPI().copyOut("COPY (SELECT id FROM jdbc_rows WHERE id = 5000) TO STDOUT", out);
            check(out.toString().equals("5000\n"), "copy out");

            // LISTEN and NOTIFY.
            try (Statement statement = connection.createStatement()) {
                statement.execute("LISTEN jdbc_channel");
                statement.execute("NOTIFY jdbc_channel, 'payload'");
            }
            PGNotification[] heard = postgres.getNotifications(5000);
            check(heard != null && heard[0].getParameter().equals("payload"), "notification");

            // A timeout of the driver's is a cancel request of its own.
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                statement.execute("SELECT pg_sleep(30)");
                throw new AssertionError("not cancelled");
            } catch (SQLException error) {
                check("57014".equals(error.getSQLState()), "cancel: " + error.getSQLState());
            }
            check(number(connection, "SELECT 2") == 2, "after the cancel");

            // Metadata: long catalog queries.
            try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "jdbc_rows", "%")) {
                int count = 0;
                while (columns.next()) {
                    count++;
                }
                check(count == 3, "columns");
            }
            try (ResultSet keys = connection.getMetaData().getPrimaryKeys(null, "public", "jdbc_rows")) {
                check(keys.next() && keys.getString("COLUMN_NAME").equals("id"), "primary key");
            }

            // DDL under a prepared statement: the driver parses anew by itself, in autocommit.
            try (PreparedStatement prepared = connection.prepareStatement("SELECT * FROM jdbc_rows LIMIT 1")) {
                prepared.executeQuery().close();
                prepared.executeQuery().close();
                execute(connection, "ALTER TABLE jdbc_rows ADD COLUMN more int");
                try (ResultSet rows = prepared.executeQuery()) {
                    check(rows.getMetaData().getColumnCount() == 4, "columns after the DDL");
                }
            }
            execute(connection, "DROP TABLE jdbc_rows");
        }
        try {
            properties.setProperty("password", "wrong");
            DriverManager.getConnection(arguments[0], properties).close();
            throw new AssertionError("a wrong password logged in");
        } catch (SQLException error) {
            check("28P01".equals(error.getSQLState()), "login: " + error.getSQLState());
        }
        System.out.println("ok");
    }
}
