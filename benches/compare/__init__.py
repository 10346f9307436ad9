"""The comparison with other libraries: `python -m benches.compare`.

Cases of the timed groups (`cases`) run in rounds (`contest`) and end in ratios (`report`);
trainings from the start (`training`) take turns epoch by epoch. Each library answers in a process
of its own (`worker`, `lesson`, `libraries`).
"""
