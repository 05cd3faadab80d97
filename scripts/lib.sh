# Shared by the scripts in this folder: where things are, and a private PostgreSQL.
#
# Source it: `. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"`. It sets `root` (the repository) and defines functions;
# it starts nothing. A private PostgreSQL lives in a folder and on a port of its own, so that a system-wide cluster
# is neither needed nor disturbed.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_bin=${PG_BIN:-/usr/lib/postgresql/15/bin}

# The compiler cache; precompiled headers need the two sloppiness flags.
if [ -z "${CMAKE_CXX_COMPILER_LAUNCHER+set}" ] && command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}

say() { printf '%s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# port_in_use PORT: does anything on loopback accept there?
port_in_use() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || (exec 3<>"/dev/tcp/::1/$1") 2>/dev/null
}

# A port that nobody listens on, below the range from which outgoing connections are numbered.
free_port() {
    local port
    for _ in $(seq 50); do
        port=$((20000 + RANDOM % 10000))
        port_in_use "$port" || {
            echo "$port"
            return
        }
    done
    die "no free port between 20000 and 29999"
}

# print_header FILE: the comment that the script begins with, as its help.
print_header() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$1"; }

random_password() { openssl rand -hex 16; }

# A temporary folder that the account postgres may pass through when we are root (PostgreSQL refuses to run as root).
make_temp() {
    local dir
    dir=$(mktemp -d "${TMPDIR:-/tmp}/signalbox.XXXXXXXX")
    if [ "$(id -u)" = 0 ] && chmod 0711 "$dir" && ! runuser -u postgres -- test -x "$dir"; then
        rmdir "$dir"
        dir=$(mktemp -d /tmp/signalbox.XXXXXXXX)
        chmod 0711 "$dir"
    fi
    echo "$dir"
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

# start_postgres DIR PASSWORD: a cluster in DIR whose superuser is postgres; sets `pg_port`. Durability is off.
start_postgres() {
    local dir=$1 password=$2 try
    mkdir -m 0700 "$dir"
    (umask 077 && printf '%s\n' "$password" >"$dir/password")
    if [ "$(id -u)" = 0 ]; then
        chown -R postgres: "$dir"
    fi
    as_postgres "$pg_bin/initdb" -D "$dir/data" -U postgres -A scram-sha-256 --pwfile="$dir/password" \
        -E UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1 || {
        cat "$dir/initdb.log" >&2
        die "initdb failed"
    }
    for try in 1 2 3 4 5; do
        pg_port=$(free_port)
        if as_postgres "$pg_bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 30 \
            -o "-c listen_addresses=127.0.0.1 -c port=$pg_port -c unix_socket_directories= -c fsync=off" \
            start >"$dir/pg_ctl.log" 2>&1; then
            return
        fi
        # Another process may have taken the port in between; anything else fails five times.
        [ "$try" = 5 ] || rm -f "$dir/data/postmaster.pid"
    done
    tail -n 20 "$dir/server.log" >&2
    die "PostgreSQL did not start"
}

stop_postgres() {
    [ ! -f "$1/data/postmaster.pid" ] ||
        as_postgres "$pg_bin/pg_ctl" -D "$1/data" -m fast -w -t 30 stop >/dev/null 2>&1 ||
        as_postgres "$pg_bin/pg_ctl" -D "$1/data" -m immediate -w -t 10 stop >/dev/null 2>&1
}
