"""The commands, one file a family. Each has `add_to(root)`."""
