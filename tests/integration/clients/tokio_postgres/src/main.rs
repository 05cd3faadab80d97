//! tokio-postgres through Signalbox: connection data by the libpq environment, one line `ok` at the end.

use std::env;
use std::pin::pin;
use std::time::Duration;

use futures_util::{future, stream, SinkExt, StreamExt, TryStreamExt};
use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use serde_json::json;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio::time::timeout;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, Notification};

fn tls() -> MakeTlsConnector {
    let file = env::var("PGSSLROOTCERT").unwrap();
    let ca = Certificate::from_pem(&std::fs::read(file).unwrap()).unwrap();
    MakeTlsConnector::new(
        TlsConnector::builder()
            .add_root_certificate(ca)
            .build()
            .unwrap(),
    )
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .host("localhost")
        .hostaddr([127, 0, 0, 1].into())
        .port(env::var("PGPORT").unwrap().parse().unwrap())
        .user(env::var("PGUSER").unwrap())
        .password(env::var("PGPASSWORD").unwrap())
        .dbname(env::var("PGDATABASE").unwrap())
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .options(format!("-c search_path={}", env::var("SCHEMA").unwrap()));
    config
}

async fn connect() -> (Client, UnboundedReceiver<Notification>) {
    let (client, mut connection) = config().connect(tls()).await.unwrap();
    let (heard, receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => drop(heard.send(notification)),
                Ok(_) => (),
                Err(error) => panic!("{error}"),
            }
        }
    });
    (client, receiver)
}

fn expect<T>(result: Result<T, Error>, code: &SqlState) {
    let error = result.err().expect("an error");
    assert_eq!(error.code(), Some(code), "{error}");
}

async fn number(client: &Client, text: &str) -> i64 {
    client.query_one(text, &[]).await.unwrap().get(0)
}

/// Everything is binary; types that the driver does not know it asks the catalogs for.
async fn types(client: &Client) {
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE pair AS (number int4, mood mood)",
        )
        .await
        .unwrap();
    let statement = client
        .prepare("SELECT $1::text, $2::int4[], $3::jsonb, $4::bytea, $5::pair")
        .await
        .unwrap();
    match statement.params()[4].kind() {
        Kind::Composite(fields) => {
            assert!(
                matches!(fields[1].type_().kind(), Kind::Enum(values) if *values == ["glad", "sad"])
            )
        }
        other => panic!("{other:?}"),
    }
    let statement = client
        .prepare_typed(
            "SELECT $1, $2, $3, $4",
            &[Type::TEXT, Type::INT4_ARRAY, Type::JSONB, Type::BYTEA],
        )
        .await
        .unwrap();
    let list = vec![Some(1), None];
    let object = json!({"a": [1, null]});
    let bytes: &[u8] = &[0, 255];
    for _ in 0..3 {
        let row = client
            .query_one(&statement, &[&"grün", &list, &object, &bytes])
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), "grün");
        assert_eq!(row.get::<_, Vec<Option<i32>>>(1), list);
        assert_eq!(row.get::<_, serde_json::Value>(2), object);
        assert_eq!(row.get::<_, &[u8]>(3), bytes);
    }
}

/// Futures that are polled together travel together: a pipeline with a Sync behind each.
async fn pipelines(client: &Client) {
    client
        .batch_execute("CREATE TABLE items (id int PRIMARY KEY, note text)")
        .await
        .unwrap();
    let insert = client
        .prepare("INSERT INTO items VALUES ($1, $2)")
        .await
        .unwrap();
    let done = future::join_all((0..300).map(|id| {
        let (client, insert) = (client, &insert);
        async move { client.execute(insert, &[&(id % 250), &"x"]).await }
    }))
    .await;
    assert_eq!(done.iter().filter(|each| each.is_ok()).count(), 250);
    for failed in done.into_iter().filter(|each| each.is_err()) {
        expect(failed, &SqlState::UNIQUE_VIOLATION);
    }
    let prepared = future::join_all((0..50).map(|n| async move {
        let statement = client
            .prepare(&format!("SELECT {n} + $1::int8"))
            .await
            .unwrap();
        client
            .query_one(&statement, &[&1i64])
            .await
            .unwrap()
            .get::<_, i64>(0)
    }))
    .await;
    assert_eq!(prepared, (1..51).collect::<Vec<i64>>());
    assert_eq!(number(client, "SELECT count(*) FROM items").await, 250);
}

async fn transactions(client: &mut Client) {
    let mut outer = client.transaction().await.unwrap();
    outer
        .execute("INSERT INTO items VALUES (1000)", &[])
        .await
        .unwrap();
    let inner = outer.transaction().await.unwrap();
    expect(
        inner.execute("INSERT INTO items VALUES (1000)", &[]).await,
        &SqlState::UNIQUE_VIOLATION,
    );
    inner.rollback().await.unwrap();
    let portal = outer
        .bind("SELECT generate_series(1, 100)", &[])
        .await
        .unwrap();
    for turn in 0..10 {
        let rows = outer.query_portal(&portal, 10).await.unwrap();
        assert_eq!((rows.len(), rows[0].get::<_, i32>(0)), (10, turn * 10 + 1));
    }
    outer.commit().await.unwrap();
    // A transaction that is dropped is rolled back with whatever is sent next.
    drop(client.transaction().await.unwrap());
    let reading = client
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .read_only(true)
        .start()
        .await
        .unwrap();
    expect(
        reading.execute("DELETE FROM items", &[]).await,
        &SqlState::READ_ONLY_SQL_TRANSACTION,
    );
    drop(reading);
    assert_eq!(number(client, "SELECT count(*) FROM items").await, 251);
}

async fn copies(client: &Client) {
    let sink = client
        .copy_in("COPY items FROM STDIN BINARY")
        .await
        .unwrap();
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    for id in 2000..7000i32 {
        writer.as_mut().write(&[&id, &"copied"]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 5000);
    let out = client
        .copy_out("COPY (SELECT id FROM items ORDER BY id) TO STDOUT BINARY")
        .await
        .unwrap();
    let rows: Vec<_> = BinaryCopyOutStream::new(out, &[Type::INT4])
        .try_collect()
        .await
        .unwrap();
    assert_eq!((rows.len(), rows[5250].get::<i32>(0)), (5251, 6999));
    // A sink that is dropped before it is finished: CopyFail.
    let sink = client
        .copy_in::<str, &[u8]>("COPY items FROM STDIN")
        .await
        .unwrap();
    let mut sink = Box::pin(sink);
    sink.send(b"9000\tx\n").await.unwrap();
    drop(sink);
    expect(
        client.execute("SELECT 1 / 0", &[]).await,
        &SqlState::DIVISION_BY_ZERO,
    );
    assert_eq!(number(client, "SELECT count(*) FROM items").await, 5251);
}

async fn cancels(client: &Client) {
    let token = client.cancel_token();
    let sleep = client.batch_execute("SELECT pg_sleep(30)");
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(tls()).await.unwrap();
    };
    let (slept, ()) = future::join(sleep, cancel).await;
    expect(slept, &SqlState::QUERY_CANCELED);
    assert_eq!(number(client, "SELECT 1::int8").await, 1);
}

async fn notifications(client: &Client, heard: &mut UnboundedReceiver<Notification>) {
    let channel = format!("tokio_{}", env::var("PGDATABASE").unwrap());
    client
        .batch_execute(&format!("LISTEN {channel}"))
        .await
        .unwrap();
    let (other, _) = connect().await;
    other
        .execute("SELECT pg_notify($1, 'payload')", &[&channel])
        .await
        .unwrap();
    let said = timeout(Duration::from_secs(10), heard.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (said.channel(), said.payload()),
        (channel.as_str(), "payload")
    );
}

async fn signalbox(client: &Client) {
    let text = "SELECT type, generation FROM mz_catalog.mz_connections WHERE name = $1";
    let statement = client.prepare(text).await.unwrap();
    for _ in 0..3 {
        let row = client.query_one(&statement, &[&"main"]).await.unwrap();
        assert_eq!(
            (row.get::<_, &str>(0), row.get::<_, i64>(1) > 0),
            ("postgres", true)
        );
    }
    let refused = client
        .execute("DELETE FROM mz_catalog.mz_connections", &[])
        .await;
    expect(refused, &SqlState::INSUFFICIENT_PRIVILEGE);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let (mut client, mut heard) = connect().await;
    types(&client).await;
    pipelines(&client).await;
    transactions(&mut client).await;
    copies(&client).await;
    cancels(&client).await;
    notifications(&client, &mut heard).await;
    signalbox(&client).await;
    expect(
        config().password("wrong").connect(tls()).await,
        &SqlState::INVALID_PASSWORD,
    );
    println!("ok");
}
