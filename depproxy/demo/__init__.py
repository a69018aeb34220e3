"""A small registry with an image that it makes itself: a first pull without a network."""
