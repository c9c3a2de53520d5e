"""What is explored: tasks, ready-made studies, the command line."""
