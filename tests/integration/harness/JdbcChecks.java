// What the programs that check pgjdbc share.

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

class JdbcChecks {
    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    // The first value of a statement that returns rows.
    static long number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getLong(1);
        }
    }

    // That it fails with this SQLSTATE.
    static void expect(String state, Connection connection, String sql, String what) throws SQLException {
        try {
            execute(connection, sql);
        } catch (SQLException error) {
            check(state.equals(error.getSQLState()), what + ": " + error);
            return;
        }
        throw new AssertionError(what + ": no error");
    }
}
