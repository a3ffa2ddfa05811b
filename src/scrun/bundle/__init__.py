"""The bundle's config.json: read and checked, made fit for a compute node, and asked what it wants of the job."""
