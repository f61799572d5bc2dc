"""Files: strict reads, atomic canonical writes, and what each kind of file holds.

`header` checks a safetensors header byte by byte, `tensors` reads through it lazily, `atomic`
writes whole files or none, `folders` whole folders, `bits` packs masks, and `artifacts` knows
checkpoints, scores, masks and training states.
"""
