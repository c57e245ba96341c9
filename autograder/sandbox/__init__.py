"""The grader's side of a room: make it, watch it, talk to the kernel in it."""
