"""What is tried next: samplers by name, and what they see of a study."""
