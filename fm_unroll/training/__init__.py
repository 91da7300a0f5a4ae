"""How a network is trained: the task, the run, what happens beside it."""
