"""The pure rules that turn decisions and feedback into outcomes, and the worker of the join."""
