-- What `lambc runs` lists: a row is a run, the oldest first.
SELECT run, status, CASE WHEN diverged THEN 'yes' END AS diverged, last_step AS steps, best_accuracy, last_accuracy, last_loss, hit_rate, started, silent
FROM run_summaries ORDER BY started NULLS LAST, run
