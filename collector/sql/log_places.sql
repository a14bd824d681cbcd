-- A row is a place: a layer over `width` steps, the first of them `step`. Places of a layer that follow each other have
-- successive numbers. odd_norm: it has a norm that is zero or not finite; restless: the ratio moves tenfold there, or
-- between there and the place before, so that it may have jumped. whole is the kind of event that all its steps are, and
-- `quantity` of what; NULL where only the rows can tell.
--   SELECT layer, step FROM log.places('demo', 1, 1000) WHERE odd_norm;
CREATE MACRO log.places(run, first_step, last_step) AS TABLE
SELECT
    layer, step, width, rows,
    row_number() OVER (ORDER BY layer, step) + dense_rank() OVER (ORDER BY layer) AS number,
    not_finite + fallbacks > 0 OR weight_norm_min = 0 OR update_norm_min = 0 AS odd_norm,
    adapted > 0 AND coalesce(
        greatest(largest, lag(largest) OVER before) >= 10 * least(smallest, lag(smallest) OVER before), false
    ) AS restless,
    CASE
        WHEN rows < width OR step < first_step OR step + width - 1 > last_step THEN NULL
        WHEN weight_norm_max IS NULL THEN 'nan'
        WHEN not_finite = 0 AND weight_norm_max = 0 THEN 'zero norm'
        WHEN not_finite = 0 AND update_norm_max = 0 AND weight_norm_min > 0 THEN 'zero norm'
    END AS whole,
    CASE WHEN weight_norm_max > 0 THEN 'update_norm' ELSE 'weight_norm' END AS quantity
FROM (
    SELECT
        layer,
        log.place_width(run, first_step, last_step) AS width,
        cell_start(cells.step, log.place_width(run, first_step, last_step)) AS step,
        sum(cells.rows)::BIGINT AS rows,
        sum(cells.adapted)::BIGINT AS adapted,
        sum(cells.fallbacks)::BIGINT AS fallbacks,
        sum(cells.not_finite)::BIGINT AS not_finite,
        min(cells.weight_norm_min) AS weight_norm_min,
        max(cells.weight_norm_max) AS weight_norm_max,
        min(cells.update_norm_min) AS update_norm_min,
        max(cells.update_norm_max) AS update_norm_max,
        min(cells.trust_ratio_min)::DOUBLE AS smallest,
        max(cells.trust_ratio_max)::DOUBLE AS largest
    FROM log.cells(run, log.place_width(run, first_step, last_step)) AS cells
    WHERE
        cells.step >= cell_start(first_step, log.place_width(run, first_step, last_step))
        AND cells.step <= last_step
    GROUP BY ALL
)
WINDOW before AS (PARTITION BY layer ORDER BY step);
