-- A row is a value that was logged: a loss, an accuracy (a fraction in [0, 1]), whatever the user named.
--   SELECT step, value FROM metrics WHERE run = 'demo' AND name = 'test/accuracy' ORDER BY step;
CREATE VIEW metrics AS
FROM log.metrics;
