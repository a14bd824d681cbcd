-- What `lambc demo` says of its runs: a row is a run, in the order of $names.
SELECT run, best_accuracy, last_accuracy, hit_rate, steps
FROM run_summaries
WHERE run IN (SELECT unnest($names))
ORDER BY list_position($names, run)
