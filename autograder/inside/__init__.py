"""What runs in a room, beside the student's code.  It imports cnnlab and nothing else of the grader."""
