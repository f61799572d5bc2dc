"""Training: `settings` say how, `state` is all that decides the next step, `loop` takes the steps.

A run that stops anywhere resumes from its state and gives the same bytes.
"""
