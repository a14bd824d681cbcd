-- A row is a layer of a run: `usual`, the ratio before clipping that it has most of the time between two steps, which is the
-- median over at most 64 cells of its geometric mean there. A ratio divided by it tells what has changed in a layer.
--   SELECT layer, usual FROM usual_ratios('demo', 1, 1000) ORDER BY usual DESC;
CREATE MACRO usual_ratios(run, first_step, last_step) AS TABLE
SELECT layer, exp(median(log_mean)) AS usual
FROM (
    SELECT
        layer,
        cell_start(cells.step, log.shown_width(run, first_step, last_step, 64, 1)) AS cell,
        sum(trust_ratio_log_mean * rows) / sum(rows) AS log_mean
    FROM log.cells_shown(run, first_step, last_step, 64, 1) AS cells
    GROUP BY layer, cell
)
GROUP BY layer;
