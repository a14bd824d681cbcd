-- A row is an epoch of a run: its accuracy on the test set and in training, each the mean of its values there.
--   SELECT epoch, test_accuracy FROM accuracy_epochs WHERE run = 'demo' ORDER BY epoch LIMIT 3;
CREATE VIEW accuracy_epochs AS
SELECT
    run,
    epoch,
    avg(value) FILTER (name = 'test/accuracy') AS test_accuracy,
    avg(value) FILTER (name = 'train/accuracy') AS train_accuracy
FROM metrics
WHERE name IN ('test/accuracy', 'train/accuracy') AND epoch IS NOT NULL
GROUP BY run, epoch;
