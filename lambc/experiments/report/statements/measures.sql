-- A row is a measure of a run that finished, in percent of accuracy. Test accuracy smoothed over the epochs as TensorBoard
-- does it at 0.9, which is what the paper's figures and Table 1 seem to be; of the last epoch; its standard deviation over
-- the last quarter of the epochs; with batch normalisation's statistics taken afresh, at the end and as a mean over the last
-- epochs; of the weights averaged over these epochs, with statistics afresh; and in training, over the last epoch.
SELECT run, batch_size, paper_batch_size, arm, bound, setting, seed, measure, 100 * measured AS value
FROM arms
JOIN (
    SELECT
        run,
        unnest([
            'smoothed', 'last epoch', 'spread', 'statistics afresh', 'statistics afresh, mean', 'averaged weights',
            'in training'
        ]) AS measure,
        unnest([
            sum(test * weight) / sum(weight) FILTER (test IS NOT NULL),
            arg_max(test, epoch),
            stddev_samp(test) FILTER (4 * epoch > 3 * epochs),
            arg_max(fresh, epoch),
            avg(fresh),
            max(averaged),
            arg_max(train, epoch)
        ]) AS measured
    FROM (
        SELECT *, max(epoch) OVER (PARTITION BY run) AS epochs, power(0.9, epochs - epoch) AS weight
        FROM (
            SELECT
                run,
                epoch,
                avg(value) FILTER (name = 'test/accuracy') AS test,
                avg(value) FILTER (name = 'train/accuracy') AS train,
                avg(value) FILTER (name = 'fresh/test_accuracy') AS fresh,
                avg(value) FILTER (name = 'averaged/test_accuracy') AS averaged
            FROM metrics
            WHERE name IN ('test/accuracy', 'train/accuracy', 'fresh/test_accuracy', 'averaged/test_accuracy')
                AND epoch IS NOT NULL AND isfinite(value)
            GROUP BY run, epoch
        )
    )
    GROUP BY run
) USING (run)
WHERE status = 'finished' AND measured IS NOT NULL
