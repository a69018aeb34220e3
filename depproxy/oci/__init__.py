"""The grammar and the documents of the OCI specifications: pure, no I/O."""
