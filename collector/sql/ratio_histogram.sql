-- A row is a bin of a layer's ratios before clipping: how many of its steps between two, of those that could be clipped,
-- were above `above` and at most `up_to`. Bins are 32nds of an octave; what is not there is empty.
--   SELECT layer, above, up_to, steps FROM ratio_histogram('demo', 1, 1000) WHERE layer = 'fc.bias' ORDER BY above;
CREATE MACRO ratio_histogram(run, first_step, last_step) AS TABLE
SELECT
    layer,
    pow(2, (bin - 1) / getvariable('bins_an_octave')) AS above,
    pow(2, bin / getvariable('bins_an_octave')) AS up_to,
    sum(rows)::BIGINT AS steps
FROM (
    SELECT layer, unnest(ratio_bins) AS bin, unnest(ratio_rows) AS rows
    FROM log.cells_between(run, first_step, last_step, getvariable('binned_width'))
)
GROUP BY layer, bin;
