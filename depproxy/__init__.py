"""A pull-through cache for container images: a dependency proxy in one program."""

__version__ = "1.0.0"
