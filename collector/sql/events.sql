-- A row is something unusual in a layer, which went on for `steps` of its steps from `step` to `last_step`. kind:
-- 'nan', 'inf' or 'zero norm', and `quantity` says of what (a ratio is 'inf' where the norms are too far apart for a
-- float); or 'jump', where the ratio was tenfold, or a tenth, from one step to the next: `before` and `after` the first
-- such step, and `last_after` the last. Steps are recorded ones, and ratios those of adapted layers: no other ratio is
-- looked at. Per layer, the first 20 of each kind are listed, from the first 1024 recorded steps with abnormal norms and
-- the first 1024 with tenfold ratio changes; a row 'more' says from where to where there are, or may be, others, and in
-- how many steps at most.
--   SELECT layer, kind, step, quantity, before, after FROM events('demo', 1, 1000) ORDER BY step, layer;
CREATE MACRO events(run, first_step, last_step) AS TABLE
WITH places AS MATERIALIZED (
    FROM log.places(run, first_step, last_step)
),
looked_at AS MATERIALIZED (
    FROM places
    WHERE whole IS NULL AND (odd_norm OR restless)
    QUALIFY
        row_number() OVER (PARTITION BY layer, odd_norm ORDER BY step)
        <= greatest(1024 * least(run_stride(run, first_step, last_step), width) // width, 1)
),
apart AS (
    SELECT *, step - lag(step) OVER (ORDER BY step, number) AS gap
    FROM places
    SEMI JOIN (SELECT number FROM looked_at UNION ALL SELECT number - 1 FROM looked_at) USING (number)
    WHERE whole IS NULL
),
boxed AS (
    -- DuckDB reads what lies between the first and the last step that it is asked for; so it is asked for up to three
    -- stretches of the run, cut where nothing is looked at for longest.
    SELECT *, count(*) FILTER (cut <= 2 AND gap > 64 * width) OVER (ORDER BY step, number) AS box
    FROM (SELECT *, row_number() OVER (ORDER BY gap DESC) AS cut FROM apart)
),
wanted AS MATERIALIZED (
    -- Steps by name, for DuckDB then passes over the files and row groups that have none of these.
    SELECT box, number, layer, unnest(range(step, step + width)) AS step
    FROM boxed
),
read AS (
    -- The limits keep filters from coming between scan and join, where they would hide the steps from the scan.
    (FROM log.run_rows('trust_ratios', run) JOIN (FROM wanted WHERE box = 0) USING (layer, step) LIMIT 1::BIGINT << 62)
    UNION ALL
    (FROM log.run_rows('trust_ratios', run) JOIN (FROM wanted WHERE box = 1) USING (layer, step) LIMIT 1::BIGINT << 62)
    UNION ALL
    (FROM log.run_rows('trust_ratios', run) JOIN (FROM wanted WHERE box = 2) USING (layer, step) LIMIT 1::BIGINT << 62)
),
pieces AS (
    SELECT
        layer, step, step AS until, 1::BIGINT AS steps, number,
        outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS outcome,
        CASE
            WHEN isnan(weight_norm) OR isnan(update_norm) THEN 'nan'
            WHEN isinf(weight_norm) OR isinf(update_norm) THEN 'inf'
            WHEN weight_norm = 0 OR update_norm = 0 THEN 'zero norm'
            WHEN outcome = 'fallback' THEN 'inf'
        END AS odd,
        CASE
            WHEN odd = 'nan' AND isnan(update_norm) AND NOT isnan(weight_norm) THEN 'update_norm'
            WHEN odd = 'inf' AND isinf(update_norm) AND NOT isinf(weight_norm) THEN 'update_norm'
            WHEN odd = 'zero norm' AND update_norm = 0 AND weight_norm > 0 THEN 'update_norm'
            WHEN odd = 'inf' AND isfinite(weight_norm) THEN 'trust_ratio'
            WHEN odd IS NOT NULL THEN 'weight_norm'
        END AS quantity,
        CASE WHEN outcome IN ('free', 'upper', 'lower') THEN trust_ratio::DOUBLE END AS after
    FROM read
    WHERE step BETWEEN first_step AND last_step
    UNION ALL BY NAME
    SELECT layer, step, step + width - 1 AS until, rows AS steps, number, whole AS odd, quantity
    FROM places
    WHERE whole IS NOT NULL
),
kinds AS (
    SELECT
        *,
        row_number() OVER steps AS place_in_order,
        number - lag(number) OVER steps <= 1 AS follows, -- no step of the layer lies between
        CASE WHEN follows THEN lag(after) OVER steps END AS before,
        CASE
            WHEN odd IS NOT NULL THEN odd
            WHEN before <> after AND greatest(before, after) >= 10 * least(before, after) THEN 'jump'
        END AS kind
    FROM pieces
    WINDOW steps AS (ORDER BY number, step)
    QUALIFY kind IS NOT NULL
),
stretches AS (
    SELECT *, count(*) FILTER (begins) OVER (ORDER BY place_in_order) AS stretch
    FROM (
        SELECT
            *,
            (follows AND kind = lag(kind) OVER steps AND place_in_order = 1 + lag(place_in_order) OVER steps)
                IS NOT TRUE AS begins
        FROM kinds
        WINDOW steps AS (ORDER BY place_in_order)
    )
),
found AS (
    SELECT
        layer, kind, min(step) AS step, max(until) AS until, sum(steps)::BIGINT AS steps,
        CASE WHEN kind = 'jump' THEN 'trust_ratio' ELSE arg_min(quantity, step) END AS quantity,
        CASE WHEN kind = 'jump' THEN arg_min(before, step) END AS before,
        CASE WHEN kind = 'jump' THEN arg_min(after, step) END AS after,
        CASE WHEN kind = 'jump' THEN arg_max(after, step) END AS last_after,
        row_number() OVER (PARTITION BY layer, kind ORDER BY min(step)) AS nth
    FROM stretches
    GROUP BY layer, kind, stretch
),
unlisted AS (
    SELECT layer, kind = 'jump' AS jump, step, until, steps
    FROM found
    WHERE nth > 20
    UNION ALL BY NAME
    SELECT layer, NOT odd_norm AS jump, step, least(step + width - 1, last_step) AS until, rows AS steps
    FROM places
    ANTI JOIN looked_at USING (number)
    WHERE whole IS NULL AND (odd_norm OR restless)
),
listed AS (
    FROM found
    WHERE nth <= 20
    UNION ALL BY NAME
    SELECT
        layer, 'more' AS kind, min(step) AS step, max(until) AS until, sum(steps)::BIGINT AS steps,
        CASE WHEN jump THEN 'trust_ratio' END AS quantity
    FROM unlisted
    GROUP BY layer, jump
)
SELECT listed.layer, layers.position, kind, step, until AS last_step, steps, quantity, before, after, last_after
FROM listed
LEFT JOIN layers ON layers.run = run AND layers.layer = listed.layer;
