"""lib/pq: runs go/lib_pq/main.go."""


def test_lib_pq(run_go):
    run_go("lib_pq")
