-- A row is a bound to try: the edge of ratio_histogram that would clip most, and yet at most `share` of the steps between
-- two, to a first order; with `side` 'upper' the smallest such upper bound, with 'lower' the largest lower one, where a ratio
-- that is the bound itself counts as clipped. It is for the layers of a run together (`of` is 'all'), for a layer, or for a
-- group, as `groups` maps layers to them. `clipped` is the share that it clips there, and `clipped_by_all` what the bound of
-- all clips there; a bound that lies beyond it, but before `next_bound`, clips between `clipped` and `next_clipped`.
--   SELECT of, name, bound, clipped, clipped_by_all FROM suggested_bounds('demo', 1, 1000, 0.05) ORDER BY of, name;
CREATE MACRO suggested_bounds(
    run, first_step, last_step, share, groups := MAP {}::MAP(VARCHAR, VARCHAR), side := 'upper'
) AS TABLE
WITH histogram AS MATERIALIZED (
    -- Edges are counted in bins away from 1 to the bound's own side: a bound cuts what lies further out than it does.
    SELECT
        layer,
        groups[layer] AS member,
        CASE WHEN side = 'lower' THEN -1 ELSE 1 END AS outwards,
        outwards * round(
            getvariable('bins_an_octave') * log2(CASE WHEN side = 'lower' THEN above ELSE up_to END)
        )::INTEGER AS edge,
        steps
    FROM ratio_histogram(run, first_step, last_step)
),
bins AS (
    SELECT 'all' AS of, NULL AS name, outwards, edge, sum(steps) AS steps FROM histogram GROUP BY ALL
    UNION ALL
    SELECT 'group', member, outwards, edge, sum(steps) FROM histogram WHERE member IS NOT NULL GROUP BY ALL
    UNION ALL
    SELECT 'layer', layer, outwards, edge, steps FROM histogram
),
tails AS MATERIALIZED (
    SELECT
        *,
        sum(steps) OVER (PARTITION BY of, name) AS total,
        total - sum(steps) OVER (PARTITION BY of, name ORDER BY edge) AS beyond
    FROM bins
),
bounds AS (
    SELECT of, name, min(edge) AS edge FROM tails WHERE beyond / total <= share GROUP BY of, name
)
SELECT
    bounds.of,
    bounds.name,
    pow(2, any_value(outwards) * bounds.edge / getvariable('bins_an_octave')) AS bound,
    pow(2, any_value(outwards) * (bounds.edge + 1) / getvariable('bins_an_octave')) AS next_bound,
    max(tails.total)::BIGINT AS steps,
    coalesce(sum(tails.steps) FILTER (tails.edge > bounds.edge), 0) / max(tails.total) AS clipped,
    coalesce(sum(tails.steps) FILTER (tails.edge > bounds.edge + 1), 0) / max(tails.total) AS next_clipped,
    coalesce(sum(tails.steps) FILTER (tails.edge > everywhere.edge), 0) / max(tails.total) AS clipped_by_all
FROM bounds
JOIN tails ON tails.of = bounds.of AND tails.name IS NOT DISTINCT FROM bounds.name
CROSS JOIN (SELECT edge FROM bounds WHERE of = 'all') AS everywhere
GROUP BY bounds.of, bounds.name, bounds.edge;
