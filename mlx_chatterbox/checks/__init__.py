"""Checks of input from files and callers, before anything is built of it.

One rule: a number that becomes an index, a shape or a length is compared here with the table or
array that it refers to, before it reaches MLX. MLX gathers without checking: an index beyond the
end of a table reads other memory, or ends the process. The loaded weights and their configuration
state the sizes.

- `tensors`: tokens, shapes, numbers
- `git_lfs`: pointers in place of files that were not downloaded
- `safetensors_header`: a file's header against its length
- `json_file`: JSON of bounded size and depth, with the wanted type at the top
- `plain`: plain values (of JSON, YAML) against the types of a dataclass
"""
