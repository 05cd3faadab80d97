"""pgx: runs go/pgx/main.go."""


def test_pgx(run_go):
    run_go("pgx")
