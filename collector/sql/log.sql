-- Where the views of `main` have their rows from; nothing in it is meant for users.
--   SELECT table_name FROM duckdb_tables() WHERE schema_name = 'log';
CREATE SCHEMA log;
