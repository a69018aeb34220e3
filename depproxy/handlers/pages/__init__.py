"""The web pages: what is cached, how the cache does, signing in, and clearing it."""
