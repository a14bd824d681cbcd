-- A row is a layer of a run in one of the cells of log.cells_shown. Layers go by number, their place in `layers`, for to group by
-- name would take twice as long. `mean` is of a `quantity` 'trust_ratio' or 'clipped_ratio' the logarithm of the geometric mean,
-- which of ratios of 0 is -inf, and of 'hit_rate' the share; NULL where a norm is NaN or infinite, or the mean is.
--   SELECT step, exp(mean) FROM log.means_shown('demo', 'trust_ratio', 1, 1000, 10, ['fc.weight'], 1) ORDER BY step;
CREATE MACRO log.means_shown(run, quantity, first_step, last_step, columns, layers, least_width) AS TABLE
SELECT * REPLACE (CASE WHEN not_finite = 0 AND mean < 'inf'::DOUBLE THEN mean END AS mean) -- NaN is above infinity
FROM (
    SELECT
        named.number,
        cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
        sum(cells.rows)::BIGINT AS rows,
        max(cells.last_step) AS latest,
        sum(cells.not_finite)::BIGINT AS not_finite,
        CASE quantity
            WHEN 'hit_rate' THEN hit_share(cells.upper_hits, cells.lower_hits, cells.adapted)
            WHEN 'clipped_ratio' THEN sum(cells.clipped_ratio_log_mean * cells.rows) / sum(cells.rows)
            ELSE sum(cells.trust_ratio_log_mean * cells.rows) / sum(cells.rows)
        END AS mean
    FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
    JOIN (SELECT unnest(layers) AS layer, unnest(range(len(layers)))::INTEGER AS number) AS named ON named.layer = cells.layer
    GROUP BY ALL
);
