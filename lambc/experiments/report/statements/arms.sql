-- A row is a run: the arm of the experiment that it belongs to, the arm that it is held against, and its results.
SELECT
    run,
    status,
    failure,
    last_step AS steps, -- the last that was taken, recorded or not
    epoch_ms(finished) - epoch_ms(started) AS milliseconds,
    CAST(config->>'seed' AS BIGINT) AS seed,
    CAST(config->>'batch_size' AS BIGINT) AS batch_size,
    CAST(config->>'batch_size' AS BIGINT) * coalesce(CAST(config->>'divided' AS BIGINT), 1) AS paper_batch_size,
    CAST(config->>'epochs' AS BIGINT) AS epochs,
    CASE coalesce(config->>'rule', 'lamb') WHEN 'lars' THEN 'LARS' WHEN 'adamw' THEN 'AdamW' ELSE 'LAMB' END AS rule,
    CASE
        WHEN config->>'clip' IS NULL THEN 'no clipping'
        WHEN replace(config->>'clip', ' ', '') = '[1.0,1.0]' THEN 'ratio 1'
        ELSE 'clip ' || regexp_replace(
            regexp_replace(config->>'clip', '\.0$', ''), '^(norm|conv):(.*),other:none$', '\1 \2 alone'
        )
    END AS bound,
    concat_ws(
        ', ',
        nullif(rule, 'LAMB'),
        CASE WHEN config->>'bias_correction' = 'false' THEN 'authors'' code' END,
        CASE WHEN config->>'exempt_1d' = 'true' THEN '1-D exempt' END,
        CASE WHEN config->>'schedule' = 'linear' THEN 'lr to 0' END,
        CASE WHEN rule = 'LAMB' AND CAST(config->>'lr' AS DOUBLE) <> 0.01 THEN concat('lr ', config->>'lr') END,
        'rates of clip 1 by ' || (config->>'replay')
    ) AS setting,
    concat_ws(', ', nullif(bound, CASE WHEN rule <> 'LAMB' THEN 'no clipping' END), nullif(setting, '')) AS arm,
    CASE
        WHEN arm = 'no clipping' THEN NULL
        WHEN bound = 'no clipping' OR rule <> 'LAMB' THEN 'no clipping'
        ELSE concat_ws(', ', 'no clipping', nullif(setting, ''))
    END AS held_against,
    last_test_accuracy,
    best_test_accuracy
FROM runs
LEFT JOIN run_results USING (run)
