"""Files: strict reading, atomic canonical writing, and the contents of each kind of file.

`header` checks a safetensors header byte by byte, `tensors` reads through it lazily, `atomic`
writes whole files or none, `folders` whole folders, `bits` packs masks, and `artifacts` knows
checkpoints, scores, masks and training states.
"""
