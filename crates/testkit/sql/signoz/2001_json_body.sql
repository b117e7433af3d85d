-- Migration 2001 (unconditional since Collector v0.144.7): the body as JSON. In that mode `body` is ''.
ALTER TABLE {database}.logs_v2
  MODIFY SETTING object_serialization_version = 'v3', object_shared_data_serialization_version = 'advanced';

ALTER TABLE {database}.logs_v2
  ADD COLUMN body_v2 JSON(max_dynamic_paths = 0, message String) CODEC(ZSTD(1)) AFTER body;

ALTER TABLE {database}.logs_v2 ADD COLUMN body_promoted JSON() CODEC(ZSTD(1)) AFTER body_v2;

ALTER TABLE {database}.logs_v2
  ADD INDEX body_v2_string_ngram_idx lower(toString(body_v2)) TYPE ngrambf_v1(4, 15000, 3, 0) GRANULARITY 1;

ALTER TABLE {database}.logs_v2
  ADD INDEX body_v2_string_token_idx lower(toString(body_v2)) TYPE tokenbf_v1(10000, 2, 0) GRANULARITY 1;

ALTER TABLE {database}.logs_v2
  ADD INDEX body_v2_paths_ngram_idx JSONAllPaths(body_v2) TYPE ngrambf_v1(4, 15000, 3, 0) GRANULARITY 1;

ALTER TABLE {database}.logs_v2
  ADD INDEX body_v2_paths_token_idx JSONAllPaths(body_v2) TYPE tokenbf_v1(10000, 2, 0) GRANULARITY 1;
