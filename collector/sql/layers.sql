-- A row is a layer of a run: one parameter tensor, with its place in depth order from 0.
--   SELECT layer, shape FROM layers WHERE run = 'demo' ORDER BY position;
CREATE VIEW layers AS
SELECT run, layer, "position", shape, parameters, "group"
FROM log.layers;
