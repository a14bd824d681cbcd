-- A row is a cell as in heatmap_rows, of two runs: `one` and `other` are their values of the layer that lies furthest apart
-- there, and `apart` is by how much: for a `quantity` 'trust_ratio' or 'clipped_ratio' the decimal logarithm of the factor
-- between geometric means over the cell's steps, for 'hit_rate' the difference of the shares. A layer that one of the runs
-- lacks, or that has a norm which is NaN or infinite in the cell, has no value there; not_finite counts the latter's steps in
-- both runs. Cells are no narrower than the stride of either run; last_step is the last that either has recorded in it.
--   SELECT row, step, one, other, apart
--   FROM compare_rows('demo', 'demo-clip1', 'clipped_ratio', 1, 1000, 2, MAP {'conv.weight': 0, 'fc.weight': 0}) ORDER BY step;
CREATE MACRO compare_rows(run, other, quantity, first_step, last_step, columns, row_of, least_width := 1) AS TABLE
WITH shown AS (
    SELECT unnest(map_values(row_of)) AS row, unnest(range(len(map_values(row_of))))::INTEGER AS number
),
pairs AS (
    -- Each run is summed up by itself before the two are laid beside each other, layer by layer: to group the cells of
    -- both in one table takes a fifth longer, or more.
    SELECT
        number,
        step,
        coalesce(here.rows, 0) + coalesce(there.rows, 0) AS rows,
        greatest(here.latest, there.latest) AS latest,
        coalesce(here.not_finite, 0) + coalesce(there.not_finite, 0) AS not_finite,
        here.mean AS mine,
        there.mean AS theirs,
        CASE
            WHEN mine IS NULL OR theirs IS NULL OR quantity = 'hit_rate' THEN mine - theirs
            ELSE (greatest(mine, ln(1e-12)) - greatest(theirs, ln(1e-12))) / ln(10)
        END AS apart
    FROM log.means_shown(
        run, quantity, first_step, last_step, columns, map_keys(row_of),
        greatest(least_width, run_stride(other, first_step, last_step))
    ) AS here
    FULL JOIN log.means_shown(
        other, quantity, first_step, last_step, columns, map_keys(row_of),
        greatest(least_width, run_stride(run, first_step, last_step))
    ) AS there USING (number, step)
)
SELECT
    row,
    log.shown_width(
        run, first_step, last_step, columns, greatest(least_width, run_stride(other, first_step, last_step))
    ) AS width,
    step,
    sum(rows)::BIGINT AS rows,
    max(latest) AS last_step,
    sum(not_finite)::BIGINT AS not_finite,
    CASE WHEN quantity = 'hit_rate' THEN arg_max(mine, abs(apart)) ELSE exp(arg_max(mine, abs(apart))) END AS one,
    CASE WHEN quantity = 'hit_rate' THEN arg_max(theirs, abs(apart)) ELSE exp(arg_max(theirs, abs(apart))) END AS other,
    arg_max(apart, abs(apart)) AS apart
FROM pairs
JOIN shown USING (number)
GROUP BY row, step;
