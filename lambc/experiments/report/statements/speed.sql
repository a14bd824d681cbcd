-- A row is an arm at a batch size: examples trained on in a second, over the epochs of the runs that finished, and how
-- long a run took. Runs that shared a device slowed each other down.
SELECT
    batch_size AS "batch size",
    arm,
    round(avg(value), 1) AS "examples a second",
    round(median(milliseconds) / 1000, 1) AS "seconds a run"
FROM arms
JOIN metrics USING (run)
WHERE status = 'finished' AND name IN ('train/images_per_second', 'train/windows_per_second')
GROUP BY batch_size, arm
ORDER BY batch_size, contains(arm, ','), arm
