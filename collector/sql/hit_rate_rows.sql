-- A row is a cell as in heatmap_rows: hit_rate is that of the layer that was clipped in the largest share of its steps there,
-- with upper_rate and lower_rate, the largest such shares of either bound. NULL where none of the layers could be clipped.
--   SELECT row, step, hit_rate
--   FROM hit_rate_rows('demo-clip1', 1, 1000, 2, MAP {'conv.weight': 0, 'fc.weight': 0, 'bn.weight': 1}) ORDER BY row, step;
CREATE MACRO hit_rate_rows(run, first_step, last_step, columns, row_of, least_width := 1) AS TABLE
WITH shown AS MATERIALIZED (
    -- A layer's cell may come in pieces, which are put together by number: by name it would take twice as long.
    SELECT unnest(map_keys(row_of)) AS layer, unnest(map_values(row_of)) AS row, unnest(range(len(map_keys(row_of)))) AS layer_number
),
layer_cells AS (
    SELECT
        shown.row,
        shown.layer_number,
        cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
        sum(cells.rows)::BIGINT AS rows,
        max(cells.last_step) AS last_step,
        sum(cells.upper_hits) / nullif(sum(cells.adapted), 0) AS upper_rate,
        sum(cells.lower_hits) / nullif(sum(cells.adapted), 0) AS lower_rate,
        sum(cells.not_finite)::BIGINT AS not_finite
    FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
    JOIN shown ON shown.layer = cells.layer
    GROUP BY ALL
)
SELECT
    row,
    log.shown_width(run, first_step, last_step, columns, least_width) AS width,
    step,
    sum(rows)::BIGINT AS rows,
    max(layer_cells.last_step) AS last_step, -- last_step alone is the parameter
    min(upper_rate + lower_rate) AS hit_rate_low,
    max(upper_rate + lower_rate) AS hit_rate,
    max(upper_rate) AS upper_rate,
    max(lower_rate) AS lower_rate,
    sum(not_finite)::BIGINT AS not_finite
FROM layer_cells
GROUP BY ALL;
