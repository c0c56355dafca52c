-- Indexes for the queries of the stores, chosen by what they cost a write.

-- A side is only ever asked for its open orders: finished ones needn't be in the index, nor pay for it.
DROP INDEX idx_orders_side;
CREATE INDEX idx_orders_side ON orders(side, symbol) WHERE status IN (1, 2);

-- A B-tree on a few symbols costs as much as one on a key. A Bloom filter of the symbols in each range of pages finds the
-- orders of a rare one, and for a frequent one any range will do. Times rise with the pages, so that bounds find them.
DROP INDEX idx_orders_symbol;
CREATE INDEX idx_orders_symbol ON orders USING brin(symbol text_bloom_ops, created_at) WITH (pages_per_range = 32);

-- The same for the symbol of a trade and for the trades of an order: a tenth of the cost of three B-trees.
CREATE INDEX idx_trades_found_by ON trades USING brin(
    symbol text_bloom_ops,
    buy_order_id int8_bloom_ops(n_distinct_per_range = 2000),
    sell_order_id int8_bloom_ops(n_distinct_per_range = 2000)
) WITH (pages_per_range = 32);

-- A B-tree is read from either end, so ORDER BY timestamp DESC needs no descending one. Times rise, and what rises is added at the
-- right end, for which PostgreSQL has a short cut; at the left end of a descending tree each row costs a search, and the pages
-- that it splits stay half empty.
DROP INDEX idx_trades_timestamp;
CREATE INDEX idx_trades_timestamp ON trades(timestamp);

-- Ranges are summed up when the table is vacuumed, and read in full until then: so that shouldn't wait for a fifth of the table.
ALTER TABLE trades SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000);
ALTER TABLE orders SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000);

-- Orders change: with room left in a page, a change of what no index is about stays there and needs no new index entries.
ALTER TABLE orders SET (fillfactor = 70);
