// lib/pq through Signalbox: connection data by the libpq environment, one line `ok` at the end.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

var ctx = context.Background()

// lib/pq sends what it does not know as parameters of the session.
var conninfo = "search_path=" + os.Getenv("SCHEMA")

func check(holds bool, what string, found ...any) {
	if !holds {
		panic(fmt.Sprintf("%s: %v", what, found))
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "error", err)
	return value
}

func expect(err error, code string) {
	var report *pq.Error
	check(errors.As(err, &report) && string(report.Code) == code, "expected "+code, err)
}

func number(row *sql.Row) (n int) {
	err := row.Scan(&n)
	check(err == nil, "number", err)
	return n
}

// Text and, with binary_parameters, binary without a named statement.
func values(db *sql.DB) {
	at := time.Date(2024, 2, 29, 12, 30, 1, 5000, time.UTC)
	var (
		text    string
		raw     []byte
		list    []int64
		when    time.Time
		nothing sql.NullString
	)
	err := db.QueryRow("SELECT $1::text, $2::bytea, $3::int8[], $4::timestamptz, $5::text",
		"grün", []byte{0, 255}, pq.Array([]int64{1, 2}), at, nil,
	).Scan(&text, &raw, pq.Array(&list), &when, &nothing)
	check(err == nil, "scan", err)
	check(text == "grün" && raw[1] == 255 && len(list) == 2 && when.Equal(at) && !nothing.Valid,
		"values", text, raw, list, when)
	rows := must(db.Query("SELECT 1 AS a; SELECT 'x' AS b, 2 AS c"))
	defer rows.Close()
	check(rows.Next() && !rows.Next() && rows.NextResultSet(), "result sets")
	check(len(must(rows.Columns())) == 2, "result sets")
}

func prepared(db *sql.DB) {
	statements := make([]*sql.Stmt, 20)
	for n := range statements {
		statements[n] = must(db.Prepare(fmt.Sprintf("SELECT $1::int + %d", n)))
	}
	for turn := 0; turn < 3; turn++ {
		for n, statement := range statements {
			check(number(statement.QueryRow(turn)) == turn+n, "prepared")
		}
	}
	for _, statement := range statements {
		check(statement.Close() == nil, "close")
	}
	_, err := db.Query("SELECT 1 / $1::int", 0)
	expect(err, "22012")
	_, err = db.Query("SELEKT $1", 0)
	expect(err, "42601")
}

func copying(db *sql.DB) {
	must(db.Exec("CREATE TABLE copied (id int PRIMARY KEY, note text)"))
	copyIn := func(from, to int) error {
		tx := must(db.Begin())
		defer tx.Rollback()
		statement := must(tx.Prepare(pq.CopyIn("copied", "id", "note")))
		for n := from; n < to; n++ {
			if _, err := statement.Exec(n, strings.Repeat("x", n%100)); err != nil {
				return err
			}
		}
		if _, err := statement.Exec(); err != nil {
			return err
		}
		check(statement.Close() == nil, "close")
		return tx.Commit()
	}
	check(copyIn(0, 5000) == nil, "copy")
	expect(copyIn(4990, 5010), "23505")
	check(number(db.QueryRow("SELECT count(*) FROM copied")) == 5000, "copied")
}

func transactions(db *sql.DB) {
	must(db.Exec("CREATE TABLE kept (id int)"))
	tx := must(db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}))
	_, err := tx.Exec("DELETE FROM kept")
	expect(err, "25006")
	check(tx.Rollback() == nil, "rollback")
	tx = must(db.Begin())
	must(tx.Exec("INSERT INTO kept VALUES (1)"))
	must(tx.Exec("SAVEPOINT s"))
	_, err = tx.Exec("INSERT INTO kept VALUES (1 / $1::int)", 0)
	expect(err, "22012")
	must(tx.Exec("ROLLBACK TO s"))
	must(tx.Exec("DECLARE walk CURSOR FOR SELECT generate_series(1, 10)"))
	must(tx.Exec("MOVE 4 IN walk"))
	check(number(tx.QueryRow("FETCH 1 FROM walk")) == 5, "cursor")
	check(tx.Commit() == nil && number(db.QueryRow("SELECT sum(id) FROM kept")) == 1, "commit")
	// A failed transaction that is committed is an error of lib/pq's.
	tx = must(db.Begin())
	_, err = tx.Exec("SELECT nonsense")
	expect(err, "42703")
	check(tx.Commit() != nil, "commit of a failed transaction")
}

func cancel(db *sql.DB) {
	short, done := context.WithTimeout(ctx, 300*time.Millisecond)
	defer done()
	_, err := db.ExecContext(short, "SELECT pg_sleep(30)")
	expect(err, "57014")
	check(number(db.QueryRow("SELECT 1")) == 1, "after the cancel")
	// The end of a transaction's context rolls it back.
	within, cancelled := context.WithCancel(ctx)
	tx := must(db.BeginTx(within, nil))
	must(tx.Exec("INSERT INTO kept VALUES (100)"))
	time.AfterFunc(200*time.Millisecond, cancelled)
	_, err = tx.ExecContext(within, "SELECT pg_sleep($1)", 30)
	expect(err, "57014")
	check(number(db.QueryRow("SELECT count(*) FROM kept WHERE id = 100")) == 0, "rolled back")
}

func listen(db *sql.DB) {
	channel := "lib_pq_" + os.Getenv("PGDATABASE")
	listener := pq.NewListener(conninfo, 10*time.Millisecond, time.Second, nil)
	defer listener.Close()
	check(listener.Listen(channel) == nil, "listen")
	must(db.Exec("SELECT pg_notify($1, 'payload')", channel))
	select {
	case heard := <-listener.Notify:
		check(heard.Channel == channel && heard.Extra == "payload", "notification", heard)
	case <-time.After(10 * time.Second):
		check(false, "no notification")
	}
	check(listener.Ping() == nil && listener.Unlisten(channel) == nil, "unlisten")
}

func notices() {
	var heard []string
	plain := must(pq.NewConnector(conninfo))
	db := sql.OpenDB(pq.ConnectorWithNoticeHandler(plain, func(notice *pq.Error) {
		heard = append(heard, notice.Message)
	}))
	defer db.Close()
	must(db.Exec("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$"))
	check(len(heard) == 1 && heard[0] == "noticed", "notices", heard)
}

// What a connection has set is its own, whichever goroutine has it next.
func together(db *sql.DB) {
	must(db.Exec("CREATE TABLE together (id int PRIMARY KEY)"))
	insert := must(db.Prepare("INSERT INTO together VALUES ($1)"))
	var group sync.WaitGroup
	for n := 0; n < 20; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for turn := 0; turn < 20; turn++ {
				must(insert.Exec(n*20 + turn))
			}
			c := must(db.Conn(ctx))
			defer c.Close()
			name := fmt.Sprint("worker ", n)
			must(c.ExecContext(ctx, "SELECT set_config('application_name', $1, false)", name))
			for turn := 0; turn < 5; turn++ {
				var got string
				check(c.QueryRowContext(ctx, "SHOW application_name").Scan(&got) == nil, "show")
				check(got == name, "application_name", got, name)
			}
		}(n)
	}
	group.Wait()
	check(number(db.QueryRow("SELECT count(*) FROM together")) == 400, "together")
}

func signalbox(db *sql.DB) {
	for n := 0; n < 3; n++ {
		var kind string
		row := db.QueryRow("SELECT type FROM mz_catalog.mz_connections WHERE name = $1", "main")
		check(row.Scan(&kind) == nil && kind == "postgres", "mz_connections", kind)
	}
	_, err := db.Exec("DELETE FROM mz_catalog.mz_connections WHERE name = $1", "main")
	expect(err, "42501")
}

func main() {
	os.Unsetenv("PGHOSTADDR") // lib/pq panics at the sight of it
	db := must(sql.Open("postgres", conninfo))
	defer db.Close()
	db.SetMaxOpenConns(5)
	c := must(db.Conn(ctx))
	check(c.Raw(func(raw any) error {
		_, is := raw.(driver.ExecerContext)
		check(is, "driver")
		return nil
	}) == nil && c.Close() == nil, "connection")
	binary := must(sql.Open("postgres", conninfo+" binary_parameters=yes"))
	defer binary.Close()
	values(db)
	values(binary)
	prepared(db)
	prepared(binary)
	copying(db)
	transactions(db)
	cancel(db)
	listen(db)
	notices()
	together(db)
	signalbox(db)
	signalbox(binary)
	wrong := must(sql.Open("postgres", conninfo+" password=wrong"))
	expect(wrong.Ping(), "28P01")
	fmt.Println("ok")
}
