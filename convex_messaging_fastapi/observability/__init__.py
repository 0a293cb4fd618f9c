"""What this package shows to tools that trace services; their libraries are imported at the first use."""
