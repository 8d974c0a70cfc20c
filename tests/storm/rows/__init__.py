"""Every row, in the order in which they run."""

from tests.storm.rows import fail_points, kill_storm

ROWS = (kill_storm.ROW, fail_points.ROW)
