-- A row is a metric of a run: its role (metric_roles), how many values it has, from which step to which, and the last of them.
-- own_steps: whether it counts other steps than the optimizer does, as tokens, and so goes on far behind the run's last one.
--   SELECT name, split, quantity, "values", last_value FROM metric_names WHERE run = 'demo' ORDER BY name;
CREATE VIEW metric_names AS
FROM log.metric_names(NULL);
