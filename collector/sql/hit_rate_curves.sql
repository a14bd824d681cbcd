-- A row is one of some runs, or of all where `runs` is NULL: the share of its layers' steps that were clipped, over all
-- steps, and in cells of `width` steps, a power of two, in their order. NULL where none could be clipped. not_finite: in how
-- many of the layers' steps a norm was NaN or infinite.
--   SELECT run, hit_rate, hit_rates FROM hit_rate_curves(['demo', 'demo-clip1'], 256) ORDER BY run;
CREATE MACRO hit_rate_curves(runs, width) AS TABLE
SELECT
    run,
    sum(hits) / nullif(sum(adapted), 0) AS hit_rate,
    list((hits / nullif(adapted, 0))::FLOAT ORDER BY step) AS hit_rates,
    sum(not_finite)::BIGINT AS not_finite
FROM (
    SELECT
        run,
        cell_start(step, width) AS step,
        sum(adapted) AS adapted,
        sum(upper_hits) + sum(lower_hits) AS hits,
        sum(not_finite) AS not_finite
    FROM (
        SELECT run, step, adapted, upper_hits, lower_hits, not_finite
        FROM log.rows_of('rollups', runs)
        WHERE log2(width)::INTEGER BETWEEN level AND last_level
        UNION ALL
        SELECT
            run,
            step,
            (outcome IN ('free', 'upper', 'lower'))::BIGINT,
            (outcome = 'upper')::BIGINT,
            (outcome = 'lower')::BIGINT,
            not_finite::BIGINT
        FROM (
            SELECT
                run,
                step,
                outcome(weight_norm, update_norm, trust_ratio, lower, upper) AS outcome,
                NOT (isfinite(weight_norm) AND isfinite(update_norm)) AS not_finite
            FROM log.rows_of(
                CASE WHEN width < getvariable('finest_width') THEN 'trust_ratios' ELSE 'fresh' END, runs
            )
        )
    )
    GROUP BY ALL
)
GROUP BY run;
