"""How a step is computed: every path has the one signature."""
