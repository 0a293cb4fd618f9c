"""The console as people meet it: in a real Chromium, by keyboard, without scripts, light, dark and narrow."""
