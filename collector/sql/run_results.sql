-- A row is a run that logged metrics: its accuracies on the test set in their order, the best and the last of them, and
-- the last training loss. That loss was not finite in broken_steps steps, first in first_broken; broken_since is the step
-- since which it is no more, NULL where it was again. Without `test_` the same of the validation set where there is no
-- accuracy on the test set, and accuracy_of and accuracy_name say which; last_loss is of the first of test set, validation
-- set and training that there is. Of several names of a role (metric_roles) it is the one with most values.
--   SELECT run, best_test_accuracy, last_test_accuracy, last_loss, loss_name FROM run_results ORDER BY run;
CREATE VIEW run_results AS
FROM log.results(NULL);
