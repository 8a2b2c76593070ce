"""Checks the description of the API: it is valid OpenAPI 3.1, and its examples fit its schemas.

Reads the document from standard input and prints what it counted, as JSON.
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

document = json.load(sys.stdin)
problems = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def check(place: str, schema: dict, value: object) -> None:
    """Checks one value; references lead into the document."""
    whole = {**schema, "components": document["components"]}
    problems.extend(
        f"{place}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)
    )


counted = {"operations": 0, "bodies": 0, "examples": 0}
for path, methods in document["paths"].items():
    for method, operation in methods.items():
        place = f"{method.upper()} {path}"
        counted["operations"] += 1
        if not any(status.startswith("2") for status in operation["responses"]):
            problems.append(f"{place}: no answer of success")
        body = operation.get("requestBody")
        if body is None:
            continue
        counted["bodies"] += 1
        schema = body["content"]["application/json"]["schema"]
        named = schema.get("$ref", "").removeprefix("#/components/schemas/")
        examples = (document["components"]["schemas"][named] if named else schema).get("examples", [])
        fields = (document["components"]["schemas"][named] if named else schema).get("properties")
        if fields and not examples:
            problems.append(f"{place}: a body without an example")
        for example in examples:
            counted["examples"] += 1
            check(place, schema, example)
for status, response in document["components"]["responses"].items():
    content = response["content"]["application/problem+json"]
    check(f"response {status}", content["schema"], content["example"])

for problem in problems:
    print(problem, file=sys.stderr)
print(json.dumps(counted))
sys.exit(1 if problems else 0)
