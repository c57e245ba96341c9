"""autograder: what instructors run.  Nothing a student receives imports it."""
