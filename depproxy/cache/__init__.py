"""The policy: what is served from where. Handlers see `DependencyProxy` and what it hands out."""
