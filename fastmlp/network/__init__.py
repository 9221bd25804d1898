"""A network in memory: layout, workspace, cost model, threads."""
