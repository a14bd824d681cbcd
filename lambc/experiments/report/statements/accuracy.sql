-- A row is an arm at a batch size: its accuracy on the test set, smoothed over the epochs (as TensorBoard does it at 0.9, from
-- the first epoch on) and after the last epoch, mean and sample standard deviation over the seeds that finished; and of each
-- seed's best epoch, which is chosen on the test set itself. The paper's figures are those of Table 1, at the batch size that
-- this one stands for: the ends of its figures' smoothed curves.
SELECT
    arms.batch_size AS "batch size",
    any_value(arms.paper_batch_size) AS "stands for",
    arm,
    count(*) AS seeds,
    TRY_CAST(avg(smoothed.value) AS DECIMAL(12, 2)) AS "smoothed %",
    TRY_CAST(stddev_samp(smoothed.value) AS DECIMAL(12, 2)) AS "± std",
    TRY_CAST(100 * avg(last_test_accuracy) AS DECIMAL(12, 2)) AS "last epoch %",
    TRY_CAST(100 * stddev_samp(last_test_accuracy) AS DECIMAL(12, 2)) AS "last ± std",
    TRY_CAST(100 * avg(best_test_accuracy) AS DECIMAL(12, 2)) AS "best epoch %",
    any_value(paper.accuracy) AS "paper %"
FROM arms
LEFT JOIN (SELECT run, value FROM measures WHERE measure = 'smoothed') AS smoothed USING (run)
LEFT JOIN (
    VALUES
    (1000, 'clip 1', 87.71), (2000, 'clip 1', 87.3), (3000, 'clip 1', 86.29),
    (1000, 'no clipping', 85.68), (2000, 'no clipping', 86.61), (3000, 'no clipping', 85.41)
) AS paper (batch_size, bound, accuracy)
    ON paper.batch_size = arms.paper_batch_size AND paper.bound = arms.bound AND arms.setting IN ('', 'authors'' code')
WHERE status = 'finished'
GROUP BY arms.batch_size, arm
ORDER BY arms.batch_size, contains(arm, ','), "smoothed %" DESC, arm
