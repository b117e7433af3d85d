-- Migration 2002 (in SigNoz's main branch since 2026-08-05, in no release yet): when a row arrived, by
-- the Collector's clock and by ClickHouse's.
ALTER TABLE {database}.logs_v2 ADD COLUMN inserted_at DateTime64(3) CODEC(Delta(8), ZSTD(1));

ALTER TABLE {database}.logs_v2 ADD COLUMN created_at DateTime64(3) DEFAULT now64(3) CODEC(Delta(8), ZSTD(1));
