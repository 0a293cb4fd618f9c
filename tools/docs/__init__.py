"""The documentation site: its pages put together, built by Zensical, and looked through."""
