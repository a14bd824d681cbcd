-- A row is an upper bound to try: the smallest edge of ratio_histogram that would clip at most `share` of the steps between
-- two, to a first order. It is for the layers of a run together (`of` is 'all'), for a layer, or for a group, as `groups`
-- maps layers to them. `clipped` is the share that it clips there, and `clipped_by_all` what the bound of all clips there; a
-- bound that is larger, but below `next_bound`, clips between `clipped` and `next_clipped`.
--   SELECT of, name, bound, clipped, clipped_by_all FROM suggested_bounds('demo', 1, 1000, 0.05) ORDER BY of, name;
CREATE MACRO suggested_bounds(run, first_step, last_step, share, groups := MAP {}::MAP(VARCHAR, VARCHAR)) AS TABLE
WITH histogram AS MATERIALIZED (
    SELECT layer, groups[layer] AS member, up_to, steps FROM ratio_histogram(run, first_step, last_step)
),
bins AS (
    SELECT 'all' AS of, NULL AS name, up_to, sum(steps) AS steps FROM histogram GROUP BY ALL
    UNION ALL
    SELECT 'group', member, up_to, sum(steps) FROM histogram WHERE member IS NOT NULL GROUP BY ALL
    UNION ALL
    SELECT 'layer', layer, up_to, steps FROM histogram
),
tails AS MATERIALIZED (
    SELECT
        *,
        sum(steps) OVER (PARTITION BY of, name) AS total,
        total - sum(steps) OVER (PARTITION BY of, name ORDER BY up_to) AS above
    FROM bins
),
bounds AS (
    SELECT of, name, min(up_to) AS bound FROM tails WHERE above / total <= share GROUP BY of, name
)
SELECT
    bounds.of,
    bounds.name,
    bounds.bound,
    bounds.bound * pow(2, 1 / getvariable('bins_an_octave')) AS next_bound,
    max(tails.total)::BIGINT AS steps,
    coalesce(sum(tails.steps) FILTER (tails.up_to > bounds.bound), 0) / max(tails.total) AS clipped,
    -- Edges are a 32nd of an octave apart, so the middle between two tells them apart whatever the rounding.
    coalesce(sum(tails.steps) FILTER (log2(tails.up_to / bounds.bound) > 1.5 / getvariable('bins_an_octave')), 0)
        / max(tails.total) AS next_clipped,
    coalesce(sum(tails.steps) FILTER (tails.up_to > everywhere.bound), 0) / max(tails.total) AS clipped_by_all
FROM bounds
JOIN tails ON tails.of = bounds.of AND tails.name IS NOT DISTINCT FROM bounds.name
CROSS JOIN (SELECT bound FROM bounds WHERE of = 'all') AS everywhere
GROUP BY ALL;
