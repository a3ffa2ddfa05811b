"""The bundle's config.json: read it, check it, adapt it to a compute node, and derive the job's limits from it."""
