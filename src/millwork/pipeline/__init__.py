"""The main job, ``optimize``: a stage a function from values to a value."""
