-- How far the orders and the trades have got in a journal: the sequence number of its last event that they have everything of.
-- It moves in the transaction that writes the rows.

CREATE TABLE watermarks (
    store TEXT NOT NULL,
    journal TEXT NOT NULL,
    seq BIGINT NOT NULL CHECK (seq >= 0),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (store, journal)
) WITH (fillfactor = 50);

-- A table that is emptied has got nowhere, whoever empties it.

CREATE OR REPLACE FUNCTION forget_watermarks() RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('DELETE FROM %I.watermarks WHERE store = %L', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE TRIGGER forget_watermarks AFTER TRUNCATE ON orders EXECUTE FUNCTION forget_watermarks();
CREATE TRIGGER forget_watermarks AFTER TRUNCATE ON trades EXECUTE FUNCTION forget_watermarks();
