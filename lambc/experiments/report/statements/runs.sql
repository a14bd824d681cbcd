-- A row is a run, and how it ended.
SELECT run, arm, seed, status, steps, TRY_CAST(100 * last_test_accuracy AS DECIMAL(12, 2)) AS "accuracy %", failure
FROM arms
ORDER BY status = 'finished', batch_size, arm, seed, run
