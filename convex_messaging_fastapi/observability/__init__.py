"""What watches the machine. The machine never imports its observers; each imports its library itself."""
