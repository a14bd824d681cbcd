-- A run in cells of at most `width` steps, none of which crosses a multiple of it: from rollups where it is a power of two,
-- the finest steps and cells of another width from rows. A cell may come in several pieces, one from each file that has a
-- share of it.
--   SELECT layer, step // 256 * 256, max(trust_ratio_max) FROM log.cells('demo', 256) GROUP BY ALL;
CREATE MACRO log.cells(run, width) AS TABLE
FROM log.row_cells(
    CASE WHEN width < getvariable('finest_width') OR bit_count(width) > 1 THEN 'trust_ratios' ELSE 'fresh' END, run
)
UNION ALL BY NAME
SELECT * EXCLUDE (run, level, last_level)
FROM log.run_rows('rollups', run)
WHERE bit_count(width) = 1 AND log2(width)::INTEGER BETWEEN level AND last_level;
