"""What all pages share: navigation, the choice of runs, the watch on the log, and notices."""
