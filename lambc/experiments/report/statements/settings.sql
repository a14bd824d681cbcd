-- A row is a setting, and the values that the runs have.
SELECT key AS setting, string_agg(DISTINCT coalesce(value, 'null'), '; ' ORDER BY coalesce(value, 'null')) AS "values"
FROM (
    SELECT unnest(json_keys(config)) AS key, config->>key AS value
    FROM arms
    JOIN runs USING (run)
)
GROUP BY key
ORDER BY key
