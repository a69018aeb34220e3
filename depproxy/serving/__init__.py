"""Where clients come in: sockets, TLS, connections, their limits, and who is behind a proxy."""
