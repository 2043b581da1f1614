"""What is asked: the tasks, their exams, who is examined, and the checks before the first question."""
