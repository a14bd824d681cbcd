-- A row is a run that logged metrics: its accuracies on the test set in their order, the best and the last of them, the
-- last training loss, and the first step whose training loss was not finite.
--   SELECT run, best_test_accuracy, last_test_accuracy FROM run_results ORDER BY best_test_accuracy DESC, run;
CREATE VIEW run_results AS
FROM log.results(NULL);
