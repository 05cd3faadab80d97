"""node-postgres: runs node_postgres.js."""


def test_node_postgres(run_node):
    run_node("node_postgres.js")
