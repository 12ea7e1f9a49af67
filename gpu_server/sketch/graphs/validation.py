"""Check a graph before it is queued, with ComfyUI's error types and bodies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.definitions import LOADERS, Definitions, InputSpec
from gpu_server.sketch.graphs.graph import Graph

_LONG_LIST = 20  # longer lists of allowed values are not sent back

# Raised while walking an ill-formed graph, or (RecursionError) a very deep one.
_WALK_ERRORS = (KeyError, IndexError, TypeError, AttributeError, RecursionError)

Error = dict[str, Any]

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "INT": int,
    "FLOAT": float,
    "STRING": str,
    "BOOLEAN": bool,
}


@dataclass
class Verdict:
    """The outcome: `outputs` are the output nodes that may run; `error` is set if none may."""

    outputs: list[str] = field(default_factory=list)
    error: Error | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate(
    graph: Any, targets: Sequence[str] | None, definitions: Definitions, folders: Folders
) -> Verdict:
    """Check a graph and convert its numbers in place ("64" becomes 64).

    `targets` limits the output nodes to run.

    Raises:
        AttributeError, TypeError: `graph` is no graph at all; the caller answers 500, as ComfyUI.
    """
    candidates = []
    for node_id, node in graph.items():
        class_type = node.get("class_type")
        spec = definitions.spec(class_type)
        if spec is None:
            return _not_found(node_id, class_type, node.get("_meta", {}).get("title"))
        if spec.is_output and (targets is None or node_id in targets):
            candidates.append(node_id)
    if not candidates:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", ""))
    return _Validator(graph, definitions, folders).check(candidates)


def _not_found(node_id: str, class_type: str | None, title: str | None) -> Verdict:
    title = title or class_type
    fault = "not found. The custom node may not be installed."
    if class_type is None:
        fault = "has no class_type. The workflow may be corrupted or a custom node is missing."
    message = f"Node '{title or f'ID #{node_id}'}' {fault}"
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return Verdict(error=_error("missing_node_type", message, f"Node ID '#{node_id}'", **extra))


def _error(kind: str, message: str, details: str, **extra: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


class _Validator:
    def __init__(self, graph: Graph, definitions: Definitions, folders: Folders) -> None:
        self._graph = graph
        self._definitions = definitions
        self._folders = folders
        self._faults: dict[str, list[Error]] = {}  # by node; empty if only its sources are faulty
        self._valid: dict[str, bool] = {}

    def check(self, candidates: Sequence[str]) -> Verdict:
        verdict = Verdict()
        messages = []
        for output in candidates:
            try:
                valid = self._check_node(output)
            except _WALK_ERRORS as error:
                valid = False
                self._set(output, [_walk_error("exception_during_validation", error)])
            if valid:
                verdict.outputs.append(output)
                continue
            messages += [f"{f['message']}: {f['details']}" for f in self._faults.get(output, [])]
            self._report(output, verdict.node_errors)
        if not verdict.outputs:
            verdict.error = _error(
                "prompt_outputs_failed_validation",
                "Prompt outputs failed validation",
                "\n".join(messages),
            )
        return verdict

    def _report(self, output: str, node_errors: dict[str, Any]) -> None:
        for node_id, faults in self._faults.items():
            if not faults:
                continue
            entry = node_errors.setdefault(
                node_id,
                {
                    "errors": faults,
                    "dependent_outputs": [],
                    "class_type": self._graph[node_id]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)

    def _set(self, node_id: str, faults: list[Error]) -> None:
        self._faults[node_id] = faults
        self._valid[node_id] = False

    def _check_node(self, node_id: str) -> bool:
        if node_id in self._valid:
            return self._valid[node_id]
        node = self._graph[node_id]
        inputs = node["inputs"]
        spec = self._definitions.spec(node["class_type"])
        if spec is None:
            raise KeyError(node["class_type"])
        faults: list[Error] = []
        sources_valid = True
        for input_spec in spec.inputs:
            if input_spec.name not in inputs:
                if input_spec.required:
                    faults.append(_missing(input_spec))
            elif isinstance(inputs[input_spec.name], list):
                fault, source_valid = self._check_link(inputs[input_spec.name], input_spec)
                faults += fault
                sources_valid = sources_valid and source_valid
            elif node["class_type"] in LOADERS and input_spec.name == "image":
                faults += self._check_image(inputs, input_spec)
            else:
                faults += _check_value(inputs, input_spec)
        self._faults[node_id] = faults
        self._valid[node_id] = not faults and sources_valid
        return self._valid[node_id]

    def _check_link(self, link: list[Any], input_spec: InputSpec) -> tuple[list[Error], bool]:
        extra = {"input_name": input_spec.name, "input_config": input_spec.config}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [
                _error("bad_linked_input", message, input_spec.name, **extra, received_value=link)
            ], True
        source, slot = link
        spec = self._definitions.spec(self._graph[source]["class_type"])
        if spec is None:
            raise KeyError(source)
        received = spec.outputs[slot]
        if received != input_spec.type:
            types = f"received_type({received}) mismatch input_type({input_spec.type})"
            message = "Return type mismatch between linked nodes"
            extra |= {"received_type": received, "linked_node": link}
            details = f"{input_spec.name}, {types}"
            return [_error("return_type_mismatch", message, details, **extra)], True
        try:
            return [], self._check_node(source)
        except _WALK_ERRORS as error:
            fault = _walk_error("exception_during_inner_validation", error, **extra)
            fault["message"] = "Exception when validating inner node"
            fault["extra_info"] |= {"exception_message": str(error), "linked_node": link}
            self._set(source, [fault])
            return [], False

    def _check_image(self, inputs: dict[str, Any], input_spec: InputSpec) -> list[Error]:
        name = inputs[input_spec.name]
        if self._folders.input_image(name) is not None:
            return []
        details = f"{input_spec.name} - Invalid image file: {name}"
        message = "Custom validation failed for node"
        return [_error("custom_validation_failed", message, details, input_name=input_spec.name)]


def _walk_error(kind: str, error: Exception, **extra: Any) -> Error:
    # ComfyUI's body has a traceback here; an empty one discloses no paths.
    return _error(
        kind,
        "Exception when validating node",
        str(error),
        **extra,
        exception_type=type(error).__name__,
        traceback=[],
    )


def _missing(input_spec: InputSpec) -> Error:
    message = "Required input is missing"
    return _error("required_input_missing", message, input_spec.name, input_name=input_spec.name)


def _check_value(inputs: dict[str, Any], input_spec: InputSpec) -> list[Error]:
    value = inputs[input_spec.name]
    if isinstance(value, dict) and "__value__" in value:
        value = inputs[input_spec.name] = value["__value__"]
    extra: dict[str, Any] = {"input_name": input_spec.name, "input_config": input_spec.config}
    convert = _CONVERSIONS.get(input_spec.type)
    if convert is not None:
        try:
            value = inputs[input_spec.name] = convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Failed to convert an input value to a {input_spec.type} value"
            details = f"{input_spec.name}, {value}, {error}"
            extra |= {"received_value": value, "exception_message": str(error)}
            return [_error("invalid_input_type", message, details, **extra)]
    extra["received_value"] = value
    if "min" in input_spec.options and value < input_spec.options["min"]:
        message = f"Value {value} smaller than min of {input_spec.options['min']}"
        return [_error("value_smaller_than_min", message, input_spec.name, **extra)]
    if "max" in input_spec.options and value > input_spec.options["max"]:
        message = f"Value {value} bigger than max of {input_spec.options['max']}"
        return [_error("value_bigger_than_max", message, input_spec.name, **extra)]
    if input_spec.choices is not None and value not in input_spec.choices:
        allowed = str(input_spec.choices)
        if len(input_spec.choices) > _LONG_LIST:
            allowed = f"(list of length {len(input_spec.choices)})"
            extra["input_config"] = None
        details = f"{input_spec.name}: '{value}' not in {allowed}"
        return [_error("value_not_in_list", "Value not in list", details, **extra)]
    return []
