"""What each setting does, as against how it is read."""
