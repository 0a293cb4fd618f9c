"""The routes of the console, and what each request passes before it is answered."""
