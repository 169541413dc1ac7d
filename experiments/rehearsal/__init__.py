"""A month rehearsed: who calls when, what members then do, what it earned in truth, and how policies compare."""
