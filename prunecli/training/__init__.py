"""Training: `settings` say how, `state` is all that decides the next step, `loop` takes the steps.

A run that stops anywhere goes on from its state to the very same bytes.
"""
