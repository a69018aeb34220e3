"""The way out: registries, their tokens and redirects. The only room that knows curl."""
