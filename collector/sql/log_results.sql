-- run_results of some runs, of which alone files are opened, or of all where `runs` is NULL.
--   FROM log.results(['demo']);
CREATE MACRO log.results(runs) AS TABLE
WITH named AS MATERIALIZED (
    SELECT
        run,
        name,
        max(epoch) AS epochs,
        last(value ORDER BY step, time) AS last, -- of several values at one step the one that was logged last
        max(value) FILTER (isfinite(value)) AS best,
        avg(value) FILTER (isfinite(value)) AS mean,
        max(step) FILTER (isfinite(value)) AS last_finite,
        -- What a name may be by its letters is enough here: its role is looked up below, so that rows are read once.
        list(step) FILTER (name ILIKE '%loss%' AND NOT isfinite(value)) AS broken,
        list(value ORDER BY step, time) FILTER ((name ILIKE '%acc%' OR name ILIKE '%top%') AND isfinite(value)) AS curve,
        count(*) AS "values"
    FROM log.rows_of('metrics', runs)
    GROUP BY run, name
),
ranked AS (
    SELECT
        *,
        -- HF logs `loss` as it trains and its mean as `train_loss` in the end: what has most values speaks for its role.
        row_number() OVER (PARTITION BY run, split, quantity ORDER BY "values" DESC, name) = 1 AS leads,
        list_position(['test', 'validation', 'train'], split) AS rank
    FROM named
    JOIN metric_roles((SELECT list(DISTINCT name) FROM named)) USING (name)
)
SELECT
    run,
    max(epochs) AS epochs,
    any_value(curve) FILTER (leads AND split = 'test' AND quantity = 'accuracy') AS test_accuracies,
    any_value(best) FILTER (leads AND split = 'test' AND quantity = 'accuracy') AS best_test_accuracy,
    any_value(last) FILTER (leads AND split = 'test' AND quantity = 'accuracy') AS last_test_accuracy,
    any_value(last) FILTER (leads AND split = 'train' AND quantity = 'loss') AS last_train_loss,
    any_value(
        CASE
            WHEN NOT isfinite(last) THEN coalesce(
                list_min(list_filter(broken, lambda step: step > coalesce(last_finite, -1))),
                list_max(broken)
            )
        END
    ) FILTER (leads AND split = 'train' AND quantity = 'loss') AS broken_since,
    any_value(mean) FILTER (name = 'train/images_per_second') AS images_per_second,
    min_by(name, rank) FILTER (leads AND quantity = 'accuracy' AND rank <= 2) AS accuracy_name,
    min_by(split, rank) FILTER (leads AND quantity = 'accuracy' AND rank <= 2) AS accuracy_of,
    arg_min_null(curve, rank) FILTER (leads AND quantity = 'accuracy' AND rank <= 2) AS accuracies,
    arg_min_null(best, rank) FILTER (leads AND quantity = 'accuracy' AND rank <= 2) AS best_accuracy,
    arg_min_null(last, rank) FILTER (leads AND quantity = 'accuracy' AND rank <= 2) AS last_accuracy,
    min_by(name, rank) FILTER (leads AND quantity = 'loss') AS loss_name,
    min_by(split, rank) FILTER (leads AND quantity = 'loss') AS loss_of,
    arg_min_null(last, rank) FILTER (leads AND quantity = 'loss') AS last_loss,
    any_value(list_min(broken)) FILTER (leads AND split = 'train' AND quantity = 'loss') AS first_broken,
    any_value(len(list_distinct(broken))) FILTER (leads AND split = 'train' AND quantity = 'loss') AS broken_steps
FROM ranked
GROUP BY run;
