"""Files of other programs that Vowpal Wabbit learns from: in a child process, since a file may kill it."""
