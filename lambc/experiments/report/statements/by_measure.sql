-- A row is an arm at a batch size, with each measure as its mean and sample standard deviation over the seeds that finished:
-- test accuracy smoothed over the epochs and after the last one, its spread from epoch to epoch in the last quarter, with
-- batch normalisation's statistics taken afresh at the end and over the last epochs, of the weights averaged over these, and
-- the accuracy in training. In percent.
SELECT
    batch_size AS "batch size",
    arm,
    count(DISTINCT seed) AS seeds,
    max(shown) FILTER (measure = 'smoothed') AS smoothed,
    max(shown) FILTER (measure = 'last epoch') AS "last epoch",
    max(shown) FILTER (measure = 'spread') AS spread,
    max(shown) FILTER (measure = 'statistics afresh') AS "statistics afresh",
    max(shown) FILTER (measure = 'statistics afresh, mean') AS "the same, last epochs",
    max(shown) FILTER (measure = 'averaged weights') AS "averaged weights",
    max(shown) FILTER (measure = 'in training') AS "in training"
FROM (
    SELECT
        *,
        concat(
            format('{:.2f}', avg(value) OVER (PARTITION BY batch_size, arm, measure)),
            format(' ± {:.2f}', stddev_samp(value) OVER (PARTITION BY batch_size, arm, measure))
        ) AS shown
    FROM measures
)
GROUP BY batch_size, arm
ORDER BY batch_size, contains(arm, ','), arm
