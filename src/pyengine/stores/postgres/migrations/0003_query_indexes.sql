-- Indexes for the queries of the stores.

-- A side is only ever asked for its open orders, so finished ones needn't be in the index, nor pay for it.
DROP INDEX idx_orders_side;
CREATE INDEX idx_orders_side ON orders(side, symbol) WHERE status IN (1, 2);

-- Rows arrive nearly in the order of time, so that a summary of each range of pages finds them and costs next to nothing.
CREATE INDEX idx_orders_created ON orders USING brin(created_at) WITH (pages_per_range = 32, autosummarize = on);

CREATE INDEX idx_trades_symbol ON trades(symbol);

-- The trades of an order: a Bloom filter for each range of pages, a hundredth of the cost of two more B-trees.
CREATE INDEX idx_trades_buy_order ON trades USING brin(buy_order_id int8_bloom_ops(n_distinct_per_range = 2000))
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX idx_trades_sell_order ON trades USING brin(sell_order_id int8_bloom_ops(n_distinct_per_range = 2000))
    WITH (pages_per_range = 32, autosummarize = on);

-- Orders change in place: room in each page lets a change of what isn't indexed skip the indexes.
ALTER TABLE orders SET (fillfactor = 85);
