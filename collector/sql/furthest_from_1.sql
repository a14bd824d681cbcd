-- The one of two ratios that is further from 1, as factors go: 0.01 is further than 50.
--   SELECT furthest_from_1(0.01, 50.0);  -- 0.01
CREATE MACRO furthest_from_1(smallest, largest) AS
    CASE WHEN abs(ln(greatest(smallest, 1e-38))) > abs(ln(greatest(largest, 1e-38))) THEN smallest ELSE largest END;
