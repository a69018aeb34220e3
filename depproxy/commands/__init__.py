"""What an administrator does beside the server: each command on the files, one a module."""
