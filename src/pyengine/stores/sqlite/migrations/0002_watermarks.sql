-- How far the orders and the trades have got in a journal: the number of its last event that they have everything of.

CREATE TABLE watermarks (
    store TEXT NOT NULL,  -- orders or trades
    journal TEXT NOT NULL,  -- identity of the journal
    seq INTEGER NOT NULL CHECK (seq >= 0),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    PRIMARY KEY (store, journal)
) STRICT, WITHOUT ROWID;
