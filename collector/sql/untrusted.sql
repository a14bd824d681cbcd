-- No row: takes from a new connection what a stranger's SQL could do harm with. The order matters; lock_configuration
-- follows once the views are there. The variable allowed_paths has every file that they read (collector.store.connect),
-- and memory what a query may take.
--   SELECT name, value FROM duckdb_settings() WHERE name = 'enable_external_access';
SET temp_directory = '';
SET memory_limit = getvariable('memory');
SET max_expression_depth = 250;
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET allow_community_extensions = false;
SET python_enable_replacements = false;
SET allow_persistent_secrets = false;
SET allowed_paths = getvariable('allowed_paths');
SET enable_external_access = false;
