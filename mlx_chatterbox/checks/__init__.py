"""What comes from a file or a caller, looked at before anything is built of it.

One rule: a number that becomes an index, a shape or a length is compared with what it is an index,
a shape or a length of, here, before MLX is given it. MLX gathers without looking: an index beyond
the end of a table gives what lies there in memory, or ends the process. What the sizes are is said
by the loaded weights and their configuration.

- `tensors`: tokens, shapes, numbers
- `git_lfs`: what stands in place of a file that was not fetched
- `safetensors_header`: a file's header against its length
- `json_file`: JSON of bounded size and depth, with the wanted type at the top
- `plain`: plain values (of JSON, YAML) against the types of a dataclass
"""
