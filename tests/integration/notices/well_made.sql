-- A shop as one would write it: every foreign key that views join along has an index, patterns are
-- searched with trigrams, and so on. No notice is right about it.
CREATE EXTENSION pg_trgm WITH SCHEMA public;
CREATE SCHEMA shop;
SET search_path = shop, public;

CREATE DOMAIN email_address AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'returned');

CREATE TABLE tenants (id int PRIMARY KEY, name text NOT NULL UNIQUE, plan varchar(20) NOT NULL);
CREATE TABLE settings (only_row bool NOT NULL DEFAULT true, currency char(3) NOT NULL);
CREATE UNIQUE INDEX settings_one_row ON settings ((true));
CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants,
    email email_address NOT NULL, name varchar(200), locale varchar(10), invited_by bigint REFERENCES users,
    deleted_at timestamptz, created_at timestamptz NOT NULL DEFAULT now());
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE INDEX users_tenant ON users (tenant_id, created_at);
CREATE INDEX users_inviter ON users (invited_by) WHERE invited_by IS NOT NULL;
CREATE INDEX users_name ON users USING gin (name gin_trgm_ops);
CREATE INDEX users_live ON users (tenant_id) WHERE deleted_at IS NULL;
CREATE TABLE addresses (
    id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, country char(2) NOT NULL REFERENCES countries,
    city text NOT NULL, street text NOT NULL, is_default bool NOT NULL DEFAULT false);
CREATE INDEX ON addresses (user_id);
CREATE INDEX ON addresses (country, city);
CREATE UNIQUE INDEX addresses_default ON addresses (user_id) WHERE is_default;
CREATE TABLE categories (id int PRIMARY KEY, parent_id int REFERENCES categories, name text NOT NULL);
CREATE INDEX ON categories (parent_id);
CREATE TABLE suppliers (id int PRIMARY KEY, name text NOT NULL, country char(2) REFERENCES countries);
CREATE INDEX ON suppliers (country);
CREATE TABLE products (
    id bigint PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, category_id int REFERENCES categories,
    supplier_id int REFERENCES suppliers, sku varchar(40) NOT NULL, title text NOT NULL, tags text[] NOT NULL DEFAULT '{}',
    data jsonb NOT NULL DEFAULT '{}', price numeric(10,2) NOT NULL, active bool NOT NULL DEFAULT true, UNIQUE (tenant_id, sku));
CREATE INDEX ON products (category_id);
CREATE INDEX ON products (supplier_id);
CREATE INDEX ON products USING gin (tags);
CREATE INDEX ON products USING gin (data jsonb_path_ops);
CREATE INDEX ON products USING gist (title gist_trgm_ops);
CREATE INDEX ON products (sku varchar_pattern_ops);
CREATE TABLE warehouses (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE stock (
    product_id bigint NOT NULL REFERENCES products, warehouse_id int NOT NULL REFERENCES warehouses,
    quantity int NOT NULL, PRIMARY KEY (product_id, warehouse_id));
CREATE INDEX ON stock (warehouse_id);
CREATE TABLE orders (
    id bigint PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, user_id bigint NOT NULL REFERENCES users,
    shipping_address bigint REFERENCES addresses, status order_status NOT NULL DEFAULT 'new',
    placed_at timestamptz NOT NULL, placed_on date NOT NULL, total numeric(12,2) NOT NULL);
CREATE INDEX ON orders (tenant_id, status, placed_at DESC);
CREATE INDEX ON orders (user_id, placed_at DESC);
CREATE INDEX ON orders (shipping_address);
CREATE INDEX ON orders USING brin (placed_on);
CREATE INDEX orders_open ON orders (placed_at) WHERE status = 'new'::order_status;
CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders, line int NOT NULL, product_id bigint NOT NULL REFERENCES products,
    quantity int NOT NULL, price numeric(10,2) NOT NULL, PRIMARY KEY (order_id, line));
CREATE INDEX ON order_items (product_id) INCLUDE (quantity);
CREATE TABLE returns (
    id bigint PRIMARY KEY, order_id bigint NOT NULL, line int NOT NULL, reason text,
    FOREIGN KEY (order_id, line) REFERENCES order_items);
CREATE INDEX ON returns (order_id, line);
CREATE TABLE payments (
    id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, provider text NOT NULL, reference text,
    paid_at timestamp NOT NULL, amount numeric(12,2) NOT NULL);
CREATE INDEX ON payments (order_id);
CREATE UNIQUE INDEX ON payments (provider, reference);
CREATE INDEX ON payments (date_trunc('day', paid_at));
CREATE INDEX ON payments (paid_at);
CREATE TABLE coupons (code text PRIMARY KEY, percent int NOT NULL, valid daterange, EXCLUDE USING gist (valid WITH &&));
CREATE TABLE order_coupons (order_id bigint REFERENCES orders, coupon text REFERENCES coupons, PRIMARY KEY (order_id, coupon));
CREATE INDEX ON order_coupons (coupon);
CREATE TABLE reviews (
    product_id bigint NOT NULL REFERENCES products, user_id bigint NOT NULL REFERENCES users, stars int NOT NULL,
    body text, PRIMARY KEY (product_id, user_id));
CREATE INDEX ON reviews (user_id);
CREATE TABLE carts (user_id bigint PRIMARY KEY REFERENCES users, updated_at timestamptz NOT NULL);
CREATE TABLE cart_items (
    user_id bigint NOT NULL REFERENCES carts, product_id bigint NOT NULL REFERENCES products, quantity int NOT NULL,
    PRIMARY KEY (user_id, product_id));
CREATE INDEX ON cart_items (product_id);
CREATE TABLE events (
    tenant_id int NOT NULL, at timestamptz NOT NULL, id bigint NOT NULL, kind text NOT NULL, payload jsonb,
    PRIMARY KEY (tenant_id, at, id)) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX ON events (kind, at);
CREATE TABLE audit (id bigint PRIMARY KEY, table_name text NOT NULL, row_id bigint NOT NULL, at timestamptz NOT NULL);
CREATE INDEX ON audit USING hash (table_name);
CREATE INDEX ON audit (table_name, row_id);
CREATE TABLE tickets (
    id bigint PRIMARY KEY, user_id bigint REFERENCES users, assignee bigint REFERENCES users, closed_at timestamptz);
CREATE INDEX ON tickets (user_id);
CREATE INDEX ON tickets (assignee);
CREATE TABLE messages (id bigint PRIMARY KEY, ticket_id bigint NOT NULL REFERENCES tickets, body text NOT NULL, sent_at timestamptz NOT NULL);
CREATE INDEX ON messages (ticket_id, sent_at);
CREATE TABLE blocked (email text NOT NULL PRIMARY KEY, reason text);
CREATE TABLE rates (currency char(3), day date, rate numeric NOT NULL, PRIMARY KEY (currency, day));
-- The same columns, yet others: direction, collation, class, method, predicate, uniqueness.
CREATE INDEX ON rates (currency, day DESC);
CREATE INDEX ON rates (currency COLLATE "C", day);
CREATE INDEX ON audit (at);
CREATE INDEX ON audit (at DESC NULLS LAST);
CREATE UNIQUE INDEX ON audit (at, id);
CREATE INDEX ON audit (at) WHERE table_name = 'orders';

CREATE VIEW live_users AS SELECT id, tenant_id, email, name FROM users WHERE deleted_at IS NULL;
CREATE VIEW order_overview AS
    SELECT o.id, o.status, u.email, sum(i.quantity * i.price) AS total
    FROM orders o JOIN users u ON u.id = o.user_id JOIN order_items i ON i.order_id = o.id
    GROUP BY o.id, o.status, u.email;
CREATE VIEW open_orders AS SELECT * FROM orders WHERE tenant_id = 1 AND status IN ('new', 'paid');
CREATE VIEW new_orders AS SELECT id, total FROM orders WHERE status = 'new' ORDER BY placed_at DESC LIMIT 50;
CREATE VIEW latest_message AS
    SELECT t.id, m.body FROM tickets t
    CROSS JOIN LATERAL (SELECT body FROM messages WHERE ticket_id = t.id ORDER BY sent_at DESC LIMIT 1) m;
CREATE VIEW has_orders AS
    SELECT u.id, EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id LIMIT 1) AS buys FROM users u;
CREATE VIEW never_bought AS SELECT id FROM products WHERE id NOT IN (SELECT product_id FROM order_items);
CREATE VIEW not_invited AS SELECT id FROM users WHERE id NOT IN (SELECT invited_by FROM users WHERE invited_by IS NOT NULL);
CREATE VIEW without_address AS
    SELECT id FROM orders o WHERE NOT EXISTS (SELECT FROM addresses a WHERE a.id = o.shipping_address);
CREATE VIEW search_users AS SELECT id FROM users WHERE name ILIKE '%smith%' AND lower(email) = 'x@example.org';
CREATE VIEW search_products AS SELECT id, title FROM products WHERE title LIKE '%lamp%' OR sku LIKE 'LAMP-%';
CREATE VIEW paid_today AS SELECT id FROM payments WHERE date_trunc('day', paid_at) = '2024-05-01';
CREATE VIEW invited AS
    SELECT u.id, i.email AS inviter FROM users u LEFT JOIN users i ON i.id = u.invited_by WHERE i.tenant_id IS DISTINCT FROM NULL;
CREATE VIEW returned AS
    SELECT r.id, i.product_id FROM returns r JOIN order_items i USING (order_id, line) WHERE r.reason IS NOT NULL;
CREATE VIEW stock_by_place AS
    SELECT w.name, p.title, s.quantity FROM stock s JOIN warehouses w ON w.id = s.warehouse_id
    JOIN products p ON p.id = s.product_id WHERE w.id = 3;
CREATE VIEW recent_events AS SELECT * FROM events WHERE tenant_id = 7 AND at > now() - interval '1 day';
CREATE VIEW tree AS
    WITH RECURSIVE t AS (SELECT id, name, 1 AS depth FROM categories WHERE parent_id IS NULL
    UNION ALL SELECT c.id, c.name, t.depth + 1 FROM categories c JOIN t ON c.parent_id = t.id) SELECT * FROM t;
CREATE VIEW names AS SELECT name::text FROM users WHERE name = 'Ann' UNION SELECT name FROM suppliers ORDER BY 1 LIMIT 10;
CREATE VIEW one_setting AS SELECT currency FROM settings LIMIT ALL;
CREATE VIEW counts AS SELECT count(*) AS n FROM users LIMIT 1;
CREATE VIEW item_of_order AS SELECT i.* FROM order_items i JOIN orders o ON o.id = i.order_id WHERE i.line = 1 AND o.id = 5;
CREATE MATERIALIZED VIEW sales AS SELECT placed_on, sum(total) AS total FROM orders GROUP BY placed_on;
CREATE UNIQUE INDEX ON sales (placed_on);
CREATE MATERIALIZED VIEW best AS
    SELECT product_id, count(*) AS sold, NULL::text AS note FROM order_items GROUP BY product_id HAVING count(*) > 10;
CREATE UNIQUE INDEX ON best (product_id);
CREATE INDEX ON best (sold);
