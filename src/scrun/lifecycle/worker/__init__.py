"""What runs in a worker: the heavy work of a container's life, a module for each piece."""
