-- A row is an epoch of a run: its first and its last step, as its metrics tell them.
--   SELECT epoch, first_step, last_step FROM epoch_steps('demo') ORDER BY epoch LIMIT 3;
CREATE MACRO epoch_steps(run) AS TABLE
SELECT
    rows.epoch,
    1 + coalesce(lag(max(rows.step)) OVER (ORDER BY rows.epoch), 0) AS first_step,
    max(rows.step) AS last_step
FROM log.run_rows('metrics', run) AS rows
WHERE
    rows.epoch IS NOT NULL
    AND rows.name IN (SELECT names.name FROM log.metric_names([run]) AS names WHERE NOT names.own_steps)
GROUP BY rows.epoch;
