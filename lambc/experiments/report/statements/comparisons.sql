-- A row is an arm against another at a batch size: the mean difference of each measure, in points, over pairs of runs with one
-- seed, and its interval at 95 % (as in `differences`). Of the spread less is better.
SELECT
    question,
    batch_size AS "batch size",
    arm,
    against,
    max(pairs) AS pairs,
    max(seen) FILTER (measure = 'smoothed') AS "smoothed, what is seen",
    max(shown) FILTER (measure = 'smoothed') AS smoothed,
    max(shown) FILTER (measure = 'last epoch') AS "last epoch",
    max(shown) FILTER (measure = 'spread') AS spread,
    max(shown) FILTER (measure = 'statistics afresh') AS "statistics afresh",
    max(shown) FILTER (measure = 'statistics afresh, mean') AS "the same, last epochs",
    max(shown) FILTER (measure = 'averaged weights') AS "averaged weights",
    max(seen) FILTER (measure = 'averaged weights') AS "averaged, what is seen",
    max(shown) FILTER (measure = 'in training') AS "in training"
FROM (
    SELECT *, concat(format('{:+.2f}', mean), format(' [{:+.2f}, {:+.2f}]', mean - reach, mean + reach)) AS shown
    FROM compared
)
JOIN (
    VALUES
    (1, 'Does clipping help?', 'clip 1', 'no clipping'),
    (2, 'Does clipping help?', 'clip 1, 1-D exempt', 'no clipping, 1-D exempt'),
    (3, 'Does clipping help?', 'clip 1, authors'' code', 'no clipping, authors'' code'),
    (4, 'Is it the bound, or a smaller rate?', 'clip 1, lr to 0', 'no clipping, lr to 0'),
    (5, 'Is it the bound, or a smaller rate?', 'clip 1, lr to 0, lr 0.003', 'no clipping, lr to 0, lr 0.003'),
    (6, 'Is it the bound, or a smaller rate?', 'clip 1, lr to 0, lr 0.03', 'no clipping, lr to 0, lr 0.03'),
    (7, 'Is it the bound, or a smaller rate?', 'no clipping, lr to 0', 'no clipping'),
    (8, 'Is it the bound, or a smaller rate?', 'no clipping, lr to 0', 'clip 1'),
    (9, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by layer', 'no clipping'),
    (10, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by kind', 'no clipping'),
    (11, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by all', 'no clipping'),
    (12, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by layer', 'clip 1'),
    (13, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by kind', 'clip 1'),
    (14, 'Is it the bound, or a smaller rate?', 'no clipping, rates of clip 1 by all', 'clip 1'),
    (15, 'Is it the bound, or a smaller rate?', 'ratio 1', 'clip 1'),
    (16, 'Which layers carry it?', 'clip norm 1 alone', 'no clipping'),
    (17, 'Which layers carry it?', 'clip conv 1 alone', 'no clipping'),
    (18, 'Which layers carry it?', 'clip 1', 'clip norm 1 alone'),
    (19, 'Which layers carry it?', 'clip 1', 'clip conv 1 alone')
) AS asked (number, question, arm, against) USING (arm, against)
GROUP BY number, question, batch_size, arm, against
ORDER BY number, batch_size
