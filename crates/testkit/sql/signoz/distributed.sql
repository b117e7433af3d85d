-- The distributed twins through which SigNoz reads and writes; the server must define the cluster.
CREATE TABLE {database}.distributed_logs_v2 AS {database}.logs_v2
ENGINE = Distributed('{cluster}', '{database}', 'logs_v2', cityHash64(id));

CREATE TABLE {database}.distributed_logs_v2_resource AS {database}.logs_v2_resource
ENGINE = Distributed('{cluster}', '{database}', 'logs_v2_resource', cityHash64(labels, fingerprint));
