-- run_results of some runs, of which alone files are opened, or of all where `runs` is NULL.
--   FROM log.results(['demo']);
CREATE MACRO log.results(runs) AS TABLE
SELECT
    run,
    max(epoch) AS epochs,
    list(value ORDER BY step, time) FILTER (name = 'test/accuracy' AND isfinite(value)) AS test_accuracies,
    max(value) FILTER (name = 'test/accuracy' AND isfinite(value)) AS best_test_accuracy,
    arg_max(value, step) FILTER (name = 'test/accuracy') AS last_test_accuracy,
    arg_max(value, step) FILTER (name = 'train/loss') AS last_train_loss,
    min(step) FILTER (name = 'train/loss' AND NOT isfinite(value)) AS broken_since,
    avg(value) FILTER (name = 'train/images_per_second' AND isfinite(value)) AS images_per_second
FROM log.rows_of('metrics', runs)
GROUP BY run;
