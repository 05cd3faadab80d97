// pgjdbc with every policy: arguments port, user, password, query mode, then routes named
// <policy>_<pool mode>; one line `ok` at the end.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Statement;
import org.postgresql.util.PSQLException;

public class JdbcBatches extends JdbcChecks {
    // The last result set's first value.
    static long last(Statement statement, String sql) throws SQLException {
        long value = -1;
        boolean hasRows = statement.execute(sql);
        while (hasRows || statement.getUpdateCount() != -1) {
            if (hasRows) {
                ResultSet rows = statement.getResultSet();
                rows.next();
                value = rows.getLong(1);
            }
            hasRows = statement.getMoreResults();
        }
        return value;
    }

    static void batches(Connection connection, String policy, boolean simple, String what) throws SQLException {
        execute(connection, "DELETE FROM ledger");
        String counted = "INSERT INTO ledger VALUES (1); SELECT rpc_count()";
        if (simple && policy.equals("single")) {
            try {
                execute(connection, counted);
                throw new AssertionError(what + ": not refused");
            } catch (PSQLException error) {
                check("0A000".equals(error.getSQLState()), what + ": " + error);
                check(error.getServerErrorMessage().getHint() != null, what + ": no hint");
            }
            check(number(connection, "SELECT count(*) FROM ledger") == 0, what + ": nothing was sent");
            return;
        }
        // In the extended mode the driver sends one Parse for each, and one Sync.
        try (Statement statement = connection.createStatement()) {
            long seen = last(statement, counted);
            boolean cut = policy.equals("split") || policy.equals("split_on_rpc");
            check(seen == (cut ? 1 : 0), what + ": the call saw " + seen);
        }

        execute(connection, "DELETE FROM ledger");
        String failing = "INSERT INTO ledger VALUES (1); SELECT 1/0; INSERT INTO ledger VALUES (2)";
        expect("22012", connection, failing, what);
        long kept = number(connection, "SELECT count(*) FROM ledger");
        check(kept == (simple && policy.equals("split") ? 1 : 0), what + ": kept " + kept);

        // Without autocommit it is all one explicit transaction, which nothing cuts.
        execute(connection, "DELETE FROM ledger");
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            check(last(statement, counted) == 0, what + ": seen inside a transaction");
            boolean warned = false;
            for (SQLWarning w = statement.getWarnings(); w != null; w = w.getNextWarning()) {
                warned = warned || "01000".equals(w.getSQLState());
            }
            check(warned, what + ": no warning of the hazard");
        }
        connection.rollback();
        connection.setAutoCommit(true);
        check(number(connection, "SELECT count(*) FROM ledger") == 0, what + ": rolled back");
    }

    static void prepared(Connection connection, String what) throws SQLException {
        try (PreparedStatement call = connection.prepareStatement("SELECT length(rpc_echo(?))")) {
            for (int turn = 0; turn < 8; turn++) {
                call.setString(1, "x".repeat(turn));
                try (ResultSet rows = call.executeQuery()) {
                    rows.next();
                    check(rows.getInt(1) == turn, what + ": prepared");
                }
            }
        }
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SHOW CONNECTIONS")) {
            check(rows.next() && rows.getString("name").equals("main"), what + ": SHOW CONNECTIONS");
        }
        described(connection, "SHOW CONNECTIONS", "name text, type text, owner text, status text", what);
        described(connection, "SHOW CONNECTION HISTORY FOR main", "name text, connection_id text, status text,"
                + " occurred_at timestamptz, error text", what);
        described(connection, "SELECT * FROM mz_internal.mz_connection_statuses", "id text, name text, type text,"
                + " last_status_change_at timestamptz, status text, error text", what);
        check(number(connection, "SELECT 5") == 5, what + ": usable");
    }

    // Before it runs, as the driver asks for it (Describe), and with its rows.
    static void described(Connection connection, String sql, String expected, String what) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            check(columns(statement.getMetaData()).equals(expected), what + ": before " + sql);
            try (ResultSet rows = statement.executeQuery()) {
                check(columns(rows.getMetaData()).equals(expected), what + ": " + sql);
            }
        }
    }

    static String columns(ResultSetMetaData about) throws SQLException {
        StringBuilder found = new StringBuilder();
        for (int i = 1; i <= about.getColumnCount(); i++) {
            found.append(i > 1 ? ", " : "").append(about.getColumnName(i)).append(' ')
                    .append(about.getColumnTypeName(i));
        }
        return found.toString();
    }

    public static void main(String[] arguments) throws Exception {
        String mode = arguments[3];
        for (int i = 4; i < arguments.length; i++) {
            String policy = arguments[i].replaceAll("_(session|transaction)$", "");
            String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/" + arguments[i]
                    + "?preferQueryMode=" + mode + "&prepareThreshold=3&socketTimeout=30";
            try (Connection connection = DriverManager.getConnection(url, arguments[1], arguments[2])) {
                String what = mode + " " + arguments[i];
                batches(connection, policy, mode.equals("simple"), what);
                prepared(connection, what);
            }
        }
        System.out.println("ok");
    }
}
