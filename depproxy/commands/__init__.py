"""What an administrator does beside the server: one command a module."""
