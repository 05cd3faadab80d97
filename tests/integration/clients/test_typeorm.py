"""TypeORM: runs typeorm.js."""


def test_typeorm(run_node, schema):
    run_node("typeorm.js", SCHEMA=schema)
