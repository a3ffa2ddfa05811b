"""The code that runs in a worker: a module for each piece of work that needs large libraries."""
