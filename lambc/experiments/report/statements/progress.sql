-- A row is an arm at a batch size: its mean accuracy on the test set after each quarter of the epochs, in percent.
SELECT
    batch_size AS "batch size",
    arm,
    TRY_CAST(100 * avg(test_accuracy) FILTER (epoch = ceil(epochs / 4)) AS DECIMAL(12, 2)) AS "after 1/4",
    TRY_CAST(100 * avg(test_accuracy) FILTER (epoch = ceil(epochs / 2)) AS DECIMAL(12, 2)) AS "after 1/2",
    TRY_CAST(100 * avg(test_accuracy) FILTER (epoch = ceil(3 * epochs / 4)) AS DECIMAL(12, 2)) AS "after 3/4",
    TRY_CAST(100 * avg(test_accuracy) FILTER (epoch = epochs) AS DECIMAL(12, 2)) AS "at the end"
FROM arms
JOIN accuracy_epochs USING (run)
WHERE status = 'finished'
GROUP BY batch_size, arm
ORDER BY batch_size, contains(arm, ','), arm
