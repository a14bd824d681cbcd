-- A row is a run that logged metrics: its accuracies on the test set in their order, the best and the last of them, and
-- the last training loss. That loss was not finite in broken_steps steps, first in first_broken; broken_since is the
-- step from which it stayed so, NULL if it recovered. Columns without `test_` use the validation set if there is no
-- test accuracy; accuracy_of and accuracy_name say which. last_loss is from the first available of test set, validation
-- set and training. Of several metrics of one role (metric_roles), the one with most values is used.
--   SELECT run, best_test_accuracy, last_test_accuracy, last_loss, loss_name FROM run_results ORDER BY run;
CREATE VIEW run_results AS
FROM log.results(NULL);
