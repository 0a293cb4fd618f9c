"""Other ways to work on a topic in a FastAPI app, run by the same tests as ours for comparison."""
