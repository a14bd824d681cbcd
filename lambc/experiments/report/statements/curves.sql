-- A row is an epoch of an arm at a batch size: its accuracy on the test set, over the seeds that finished.
SELECT
    batch_size,
    arm,
    epoch AS x,
    avg(test_accuracy) AS mean,
    stddev_samp(test_accuracy) AS std,
    min(test_accuracy) AS lowest,
    count(*) AS n
FROM arms
JOIN accuracy_epochs USING (run)
WHERE status = 'finished' AND isfinite(test_accuracy)
GROUP BY batch_size, arm, epoch
ORDER BY batch_size, arm, epoch
