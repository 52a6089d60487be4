"""Policies of Vowpal Wabbit: the workspace, its arguments, and the text that it reads."""
