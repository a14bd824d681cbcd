-- A row is an epoch of one metric: the mean of its values there, their range, and how many there were.
--   SELECT epoch, value FROM metric_epochs('demo', 'test/accuracy') ORDER BY epoch;
CREATE MACRO metric_epochs(run, name) AS TABLE
SELECT
    rows.epoch,
    max(rows.step) AS step,
    avg(rows.value) AS value,
    min(rows.value) AS smallest,
    max(rows.value) AS largest,
    count(*) AS rows
FROM log.run_rows('metrics', run) AS rows
WHERE rows.name = name
GROUP BY rows.epoch;
