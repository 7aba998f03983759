"""A comparison of training sets: arms, runs, intervals, a page."""
