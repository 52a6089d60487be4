"""The records of the loop and the pure rules that turn decisions and feedback into outcomes."""
