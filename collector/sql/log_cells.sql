-- A run in cells of at most `width` steps, a power of two, none of which crosses a multiple of it: from rollups, the
-- finest steps alone from rows. A cell may come in several pieces, one from each file that has a share of it. A rollup
-- whose top is below the level of `width` has that to give.
--   SELECT layer, step // 256 * 256, max(trust_ratio_max) FROM log.cells('demo', 256) GROUP BY ALL;
CREATE MACRO log.cells(run, width) AS TABLE
FROM log.row_cells(CASE WHEN width < getvariable('finest_width') THEN 'trust_ratios' ELSE 'fresh' END, run)
UNION ALL BY NAME
SELECT * EXCLUDE (run, level, top)
FROM log.run_rows('rollups', run)
WHERE width >= getvariable('finest_width') AND level = log2(width)::INTEGER
UNION ALL BY NAME
SELECT * EXCLUDE (run, level, top)
FROM log.run_rows('rollups', run)
WHERE width >= getvariable('finest_width') AND top = 1 AND level < log2(width)::INTEGER;
