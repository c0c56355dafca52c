-- Heads of the chains beside trade logs: who knows one can tell whether anything before it was changed, or its end cut off.

CREATE TABLE audit_heads (
    log TEXT NOT NULL,
    link TEXT NOT NULL CHECK (link ~ '^[0-9a-f]{64}$'),
    n BIGINT NOT NULL,
    file BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    kept_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (log, link)
);
