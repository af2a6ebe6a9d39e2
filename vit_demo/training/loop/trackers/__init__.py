"""Experiment trackers that a run can also report to, one file each; they are listed in
training/run/trackers.py.
"""
