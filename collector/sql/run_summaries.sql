-- A row is a run in a line: what it was, how it stands, what came of it, of which accuracy and which loss as in run_results.
-- hit_rate is over all layers and steps; diverged says whether a norm was ever NaN or infinite, or the last training loss
-- is; silent is how long ago the last word came from a run that did not end.
--   SELECT run, status, clip, steps, last_accuracy, last_loss, hit_rate FROM run_summaries ORDER BY run;
CREATE VIEW run_summaries AS
SELECT
    run,
    status,
    config->>'data' AS data,
    config->>'optimizer' AS optimizer,
    config->>'clip' AS clip,
    steps,
    last_accuracy,
    best_accuracy,
    accuracy_of,
    last_loss,
    loss_of,
    hit_rate,
    coalesce(not_finite > 0, false) OR coalesce(NOT isfinite(last_train_loss), false) AS diverged,
    started,
    CASE WHEN status IN ('running', 'stalled') THEN date_trunc('second', now() - heartbeat) END AS silent,
    last_step
FROM runs
LEFT JOIN run_results USING (run)
LEFT JOIN (
    SELECT run, hit_share(upper_hits, lower_hits, adapted) AS hit_rate, sum(not_finite) AS not_finite
    FROM clip_hits
    GROUP BY run
) AS hits USING (run);
