-- A row is a value that was logged, as stored.
--   SELECT max(step) FROM log.metrics;
CREATE VIEW log.metrics AS
FROM log.rows('metrics');
