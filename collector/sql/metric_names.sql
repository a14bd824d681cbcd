-- A row is a metric of a run: its role (metric_roles), how many values it has, from which step to which, and the last
-- of them. own_steps: whether it counts something other than optimizer steps, such as tokens, and so runs far past the
-- last step.
--   SELECT name, split, quantity, "values", last_value FROM metric_names WHERE run = 'demo' ORDER BY name;
CREATE VIEW metric_names AS
FROM log.metric_names(NULL);
