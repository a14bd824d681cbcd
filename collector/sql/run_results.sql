-- A row is a run that logged metrics: its accuracies on the test set in their order, the best and the last of them, the
-- last training loss, and the first step whose training loss was not finite.
--   SELECT run, best_test_accuracy, last_test_accuracy FROM run_results ORDER BY best_test_accuracy DESC, run;
CREATE VIEW run_results AS
SELECT
    run,
    max(epoch) AS epochs,
    list(value ORDER BY step, time) FILTER (name = 'test/accuracy' AND isfinite(value)) AS test_accuracies,
    max(value) FILTER (name = 'test/accuracy' AND isfinite(value)) AS best_test_accuracy,
    arg_max(value, step) FILTER (name = 'test/accuracy') AS last_test_accuracy,
    arg_max(value, step) FILTER (name = 'train/loss') AS last_train_loss,
    min(step) FILTER (name = 'train/loss' AND NOT isfinite(value)) AS broken_since,
    avg(value) FILTER (name = 'train/images_per_second' AND isfinite(value)) AS images_per_second
FROM metrics
GROUP BY run;
