"""How often a server connection is cleaned: a server that logs every statement has it in its log.

For routes with one server connection: whoever is next waits until it is clean.
"""

CLEANING = "DISCARD TEMP"


def cleanings(server, client, sql):
    """How often the server connection was cleaned behind the statement."""
    before = server.log_text().count(CLEANING)
    client.query(sql)
    client.value("SELECT 'the one behind it'")
    return server.log_text().count(CLEANING) - before
