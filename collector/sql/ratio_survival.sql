-- A row is a bound and a layer of a run: the share of the layer's steps that could be clipped, in the given range, in
-- which the ratio was above the bound. To first order, an upper bound there would clip that share; a run that is
-- clipped takes another course. Bounds are eighths of an octave, and the counts exact there. Averaged over layers by
-- their steps it is the run's curve.
--   SELECT bound, sum(above) / sum(steps) AS share FROM ratio_survival('demo', 1, 1000) WHERE bound IN (1, 2, 4, 8, 16)
--   GROUP BY bound ORDER BY bound;
CREATE MACRO ratio_survival(run, first_step, last_step) AS TABLE
WITH counted AS (
    SELECT layer, ceil(8 * log2(sqrt(above * up_to)))::INTEGER AS eighth, sum(steps) AS steps
    FROM ratio_histogram(run, first_step, last_step)
    GROUP BY ALL
),
eighths AS (
    SELECT unnest(range(min(eighth) - 1, max(eighth) + 1)) AS eighth FROM counted
)
SELECT
    layer,
    pow(2, eighths.eighth / 8) AS bound,
    coalesce(sum(counted.steps) FILTER (counted.eighth > eighths.eighth), 0)::BIGINT AS above,
    sum(counted.steps)::BIGINT AS steps,
    above / sum(counted.steps) AS share
FROM counted, eighths
GROUP BY layer, eighths.eighth;
