"""The part of JSON Schema that our schemas use; a package for it would be one more to install."""

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "null": type(None),
}


def check(value, schema, where="report"):
    """The part of JSON Schema that ours uses; an unknown word in it is an error."""
    known = {"$schema", "title", "description", "type", "required", "additionalProperties"}
    assert set(schema) <= known | {"properties", "items", "enum", "minimum"}
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds:
        assert any(
            isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
            for kind in kinds
        ), where
    if "enum" in schema:
        assert value in schema["enum"], where
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], where
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), where
        properties = schema.get("properties", {})
        if schema.get("additionalProperties", True) is False:
            assert set(value) <= set(properties), where
        for key, inner in properties.items():
            if key in value:
                check(value[key], inner, f"{where}.{key}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            check(one, schema.get("items", {}), f"{where}[{number}]")
