// pgx through Signalbox: connection data by the libpq environment, one line `ok` at the end.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

var ctx = context.Background()

// pgx sends what it does not know as parameters of the session.
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
	var report *pgconn.PgError
	check(errors.As(err, &report) && report.Code == code, "expected "+code, err)
}

func connect() *pgx.Conn {
	return must(pgx.Connect(ctx, conninfo))
}

func number(c interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, text string, arguments ...any) (n int64) {
	check(c.QueryRow(ctx, text, arguments...).Scan(&n) == nil, text)
	return n
}

func types(c *pgx.Conn) {
	at := time.Date(2024, 2, 29, 12, 30, 1, 5000, time.UTC)
	var (
		text    string
		raw     []byte
		list    []*int32
		object  map[string]any
		when    time.Time
		decimal pgtype.Numeric
		span    pgtype.Range[pgtype.Int8]
		nothing *string
	)
	err := c.QueryRow(ctx, "SELECT $1::text, $2::bytea, $3::int4[], $4::jsonb, $5::timestamptz,"+
		" 12345678901234567890.5::numeric, int8range(1, 9), $6::text",
		"grün", []byte{0, 255}, []*int32{new(int32), nil}, map[string]any{"a": []int{1}}, at, nil,
	).Scan(&text, &raw, &list, &object, &when, &decimal, &span, &nothing)
	check(err == nil, "scan", err)
	check(text == "grün" && bytes.Equal(raw, []byte{0, 255}) && nothing == nil, "values", text, raw)
	check(len(list) == 2 && *list[0] == 0 && list[1] == nil && when.Equal(at), "values", list, when)
	check(fmt.Sprint(object) == "map[a:[1]]" && decimal.Exp == -1, "values", object, decimal)
	check(span.Upper.Int64 == 9, "range", span)

	// A composite is learned from the catalogs.
	must(c.Exec(ctx, "CREATE TYPE pair AS (number int4, word text)"))
	c.TypeMap().RegisterType(must(c.LoadType(ctx, "pair")))
	type pair struct {
		Number int32
		Word   string
	}
	var got pair
	check(c.QueryRow(ctx, "SELECT $1::pair", pair{7, "a,b"}).Scan(&got) == nil, "composite")
	check(got == pair{7, "a,b"}, "composite", got)
}

func modes(c *pgx.Conn) {
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		for turn := int64(0); turn < 3; turn++ {
			check(number(c, "SELECT $1::int8 * 2", mode, turn) == turn*2, mode.String())
		}
		_, err := c.Exec(ctx, "SELECT 1 / $1::int", mode, 0)
		expect(err, "22012")
	}
	// More statements than the cache has room for: pgx closes old ones in the next round trip.
	settings := must(pgx.ParseConfig(conninfo))
	settings.StatementCacheCapacity = 5
	small := must(pgx.ConnectConfig(ctx, settings))
	defer small.Close(ctx)
	for turn := int64(0); turn < 3; turn++ {
		for n := int64(0); n < 12; n++ {
			check(number(small, fmt.Sprintf("SELECT $1::int8 + %d", n), turn) == n+turn, "cache")
		}
	}
	described := must(c.Prepare(ctx, "named", "SELECT $1::int4 AS a, $2::text AS b"))
	check(len(described.ParamOIDs) == 2 && described.Fields[1].Name == "b", "prepare", described)
	var text string
	check(c.QueryRow(ctx, "named", 1, "x").Scan(new(int), &text) == nil && text == "x", "named")
	check(c.Deallocate(ctx, "named") == nil, "deallocate")
}

func batches(c *pgx.Conn) {
	must(c.Exec(ctx, "CREATE TABLE batched (id int PRIMARY KEY, note text)"))
	batch := &pgx.Batch{}
	for n := 0; n < 200; n++ {
		batch.Queue("INSERT INTO batched VALUES ($1, $2)", n, fmt.Sprint("note ", n))
	}
	var total int64
	batch.Queue("SELECT count(*) FROM batched").QueryRow(func(row pgx.Row) error {
		return row.Scan(&total)
	})
	check(c.SendBatch(ctx, batch).Close() == nil && total == 200, "batch", total)

	// The batch is one implicit transaction: what came before the error is gone, too.
	batch = &pgx.Batch{}
	for _, id := range []int{1000, 1001, 1, 1002} {
		batch.Queue("INSERT INTO batched (id) VALUES ($1)", id)
	}
	results := c.SendBatch(ctx, batch)
	must(results.Exec())
	must(results.Exec())
	_, err := results.Exec()
	expect(err, "23505")
	expect(results.Close(), "23505")
	check(number(c, "SELECT count(*) FROM batched") == 200, "rolled back")

	// A pipeline with Syncs of one's own: each is a transaction.
	pipeline := c.PgConn().StartPipeline(ctx)
	for _, id := range []string{"2000", "1", "2001"} {
		pipeline.SendQueryParams(
			"INSERT INTO batched (id) VALUES ($1)", [][]byte{[]byte(id)}, nil, nil, nil)
		check(pipeline.Sync() == nil, "sync")
	}
	failed := 0
	for synced := 0; synced < 3; {
		result, err := pipeline.GetResults()
		if err != nil {
			expect(err, "23505")
			failed++
			continue
		}
		switch r := result.(type) {
		case *pgconn.ResultReader:
			_, err = r.Close()
			if err != nil {
				expect(err, "23505")
				failed++
			}
		case *pgconn.PipelineSync:
			synced++
		}
	}
	check(pipeline.Close() == nil && failed == 1, "pipeline", failed)
	check(number(c, "SELECT count(*) FROM batched") == 202, "pipeline")
}

func copying(c *pgx.Conn) {
	must(c.Exec(ctx, "CREATE TABLE copied (id int PRIMARY KEY, note text, at timestamptz)"))
	rows := func(from, to int) pgx.CopyFromSource {
		return pgx.CopyFromSlice(to-from, func(i int) ([]any, error) {
			return []any{from + i, strings.Repeat("x", i%100), time.Now()}, nil
		})
	}
	columns := []string{"id", "note", "at"}
	copied := must(c.CopyFrom(ctx, pgx.Identifier{"copied"}, columns, rows(0, 5000)))
	check(copied == 5000, "copy", copied)
	_, err := c.CopyFrom(ctx, pgx.Identifier{"copied"}, columns, rows(4990, 5010))
	expect(err, "23505")
	_, err = c.CopyFrom(ctx, pgx.Identifier{"copied"}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		return nil, errors.New("in the middle")
	}))
	expect(err, "57014")
	var out bytes.Buffer
	must(c.PgConn().CopyTo(ctx, &out, "COPY (SELECT id FROM copied ORDER BY id LIMIT 3) TO STDOUT"))
	check(out.String() == "0\n1\n2\n", "copy to", out.String())
	in := strings.NewReader("7000,x,2024-01-01\n")
	tag := must(c.PgConn().CopyFrom(ctx, in, "COPY copied FROM STDIN (FORMAT csv)"))
	check(tag.RowsAffected() == 1 && number(c, "SELECT count(*) FROM copied") == 5001, "copy", tag)
}

func transactions(c *pgx.Conn) {
	must(c.Exec(ctx, "CREATE TABLE kept (id int)"))
	boom := errors.New("boom")
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		must(tx.Exec(ctx, "INSERT INTO kept VALUES (1)"))
		inner := pgx.BeginFunc(ctx, tx, func(nested pgx.Tx) error {
			must(nested.Exec(ctx, "INSERT INTO kept VALUES (2)"))
			return boom
		})
		check(errors.Is(inner, boom), "savepoint", inner)
		_, err := tx.Exec(ctx, "DECLARE walk CURSOR FOR SELECT generate_series(1, 100)")
		check(err == nil, "cursor", err)
		ids := must(pgx.CollectRows(must(tx.Query(ctx, "FETCH 3 FROM walk")), pgx.RowTo[int]))
		check(fmt.Sprint(ids) == "[1 2 3]", "cursor", ids)
		return nil
	})
	check(err == nil && number(c, "SELECT sum(id) FROM kept") == 1, "transaction", err)
	options := pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, c, options, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM kept")
		return err
	})
	expect(err, "25006")
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		objects := tx.LargeObjects()
		id := must(objects.Create(ctx, 0))
		object := must(objects.Open(ctx, id, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite))
		must(object.Write(bytes.Repeat([]byte{1, 0, 255}, 10000)))
		must(object.Seek(0, 0))
		head := make([]byte, 4)
		must(object.Read(head))
		check(bytes.Equal(head, []byte{1, 0, 255, 1}), "large object", head)
		return objects.Unlink(ctx, id)
	})
	check(err == nil, "large object", err)
}

// The statements of the cache are stale after DDL: once an error, then prepared anew by pgx itself.
func ddl(c *pgx.Conn) {
	must(c.Exec(ctx, "CREATE TABLE changing AS SELECT 1 AS a"))
	columns := func() (int, error) {
		rows, err := c.Query(ctx, "SELECT * FROM changing")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return len(rows.FieldDescriptions()), rows.Err()
	}
	for n := 0; n < 3; n++ {
		check(must(columns()) == 1, "columns")
	}
	must(c.Exec(ctx, "ALTER TABLE changing ADD COLUMN b int"))
	if _, err := columns(); err != nil {
		expect(err, "0A000")
	}
	check(must(columns()) == 2, "columns after the DDL")
}

func cancel(c *pgx.Conn) {
	time.AfterFunc(300*time.Millisecond, func() { c.PgConn().CancelRequest(ctx) })
	_, err := c.Exec(ctx, "SELECT pg_sleep(30)")
	expect(err, "57014")
	check(number(c, "SELECT 1") == 1, "after the cancel")
	// A context that ends closes the connection, and its statement must not go on.
	other := connect()
	must(other.Exec(ctx, "BEGIN"))
	pid := number(other, "SELECT pg_backend_pid()")
	short, done := context.WithTimeout(ctx, 200*time.Millisecond)
	defer done()
	_, err = other.Exec(short, "SELECT pg_sleep(31)")
	check(errors.Is(err, context.DeadlineExceeded) && other.IsClosed(), "deadline", err)
	sleeps := "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep(31)%'" +
		" AND state = 'active' AND pid <> pg_backend_pid()"
	for end := time.Now().Add(10 * time.Second); number(c, sleeps, pid) != 0; {
		check(time.Now().Before(end), "the statement of a closed connection goes on")
		time.Sleep(50 * time.Millisecond)
	}
}

func listen(c *pgx.Conn) {
	channel := "pgx_" + os.Getenv("PGDATABASE")
	other := connect()
	defer other.Close(ctx)
	must(c.Exec(ctx, "LISTEN "+channel))
	within, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	for _, payload := range []string{"one", "two"} {
		must(other.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload))
		if payload == "two" {
			must(c.Exec(ctx, "NOTIFY "+channel+", 'own'"))
		}
	}
	heard := map[string]int{}
	for n := 1; n <= 3; n++ {
		said := must(c.WaitForNotification(within))
		check(said.Channel == channel, "notification", *said)
		heard[said.Payload] = n
	}
	// Where the shared connection brings it, another's may come behind one's own.
	check(heard["one"] != 0 && heard["one"] < heard["two"] && heard["own"] != 0, "notifications", heard)
	must(c.Exec(ctx, "UNLISTEN *"))
}

func pool() {
	settings := must(pgxpool.ParseConfig(conninfo + " pool_max_conns=6"))
	settings.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SET work_mem = '7MB'")
		return err
	}
	pool := must(pgxpool.NewWithConfig(ctx, settings))
	defer pool.Close()
	must(pool.Exec(ctx, "CREATE TABLE pooled (id int PRIMARY KEY)"))
	var group sync.WaitGroup
	failures := make(chan error, 1000)
	for n := 0; n < 40; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for turn := 0; turn < 10; turn++ {
				var memory string
				failures <- pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, "INSERT INTO pooled VALUES ($1)", n*10+turn); err != nil {
						return err
					}
					return tx.QueryRow(ctx, "SHOW work_mem").Scan(&memory)
				})
				check(memory == "7MB", "work_mem", memory)
			}
		}(n)
	}
	group.Wait()
	close(failures)
	for err := range failures {
		check(err == nil, "pool", err)
	}
	check(number(pool, "SELECT count(*) FROM pooled") == 400, "pool")
}

// The same driver under database/sql.
func standard() {
	db := must(sql.Open("pgx", conninfo))
	defer db.Close()
	db.SetMaxOpenConns(3)
	statement := must(db.Prepare("SELECT $1::int * 3"))
	for n := 0; n < 20; n++ {
		var got int
		check(statement.QueryRow(n).Scan(&got) == nil && got == n*3, "database/sql", got)
	}
	check(statement.Close() == nil, "close")
	tx := must(db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}))
	var level string
	check(tx.QueryRow("SHOW transaction_isolation").Scan(&level) == nil, "isolation")
	check(level == "repeatable read" && tx.Rollback() == nil, "isolation", level)
}

// Rows of Signalbox's own, prepared and in binary.
func signalbox(c *pgx.Conn) {
	for n := 0; n < 3; n++ {
		var kind string
		var made time.Time
		err := c.QueryRow(
			ctx, "SELECT type, created_at FROM mz_catalog.mz_connections WHERE name = $1", "main",
		).Scan(&kind, &made)
		check(err == nil && kind == "postgres" && !made.IsZero(), "mz_connections", err, kind)
	}
	_, err := c.Exec(ctx, "UPDATE mz_catalog.mz_connections SET name = $1", "x")
	expect(err, "42501")
}

func main() {
	c := connect()
	state := c.PgConn().Conn()
	check(strings.Contains(fmt.Sprintf("%T", state), "tls"), "TLS", fmt.Sprintf("%T", state))
	types(c)
	modes(c)
	batches(c)
	copying(c)
	transactions(c)
	ddl(c)
	cancel(c)
	listen(c)
	pool()
	standard()
	signalbox(c)
	check(c.Close(ctx) == nil, "close")
	_, err := pgx.Connect(ctx, conninfo+" password=wrong")
	expect(err, "28P01")
	fmt.Println("ok")
}
