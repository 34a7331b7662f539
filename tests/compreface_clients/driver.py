"""Makes calls of CompreFace's two clients for Python, in an environment of theirs, as lines of JSON ask for.

`driver.py CLIENT HOST PORT KEYS`; it imports nothing of ours. The first line is what can be called. Then for
each line [name, arguments, options] comes one line: {"result": ...} or {"raised": ...}. An argument
{"bytes": base64} is bytes.
"""

import asyncio
import base64
import importlib
import inspect
import json
import sys


def of_compreface_sdk(host, port, keys):
    client = importlib.import_module("compreface").CompreFace(host, port)
    recognition = client.init_face_recognition(keys["recognition"])
    return {
        "recognition": recognition,
        "faces": recognition.get_face_collection(),
        "subjects": recognition.get_subjects(),
        "detection": client.init_face_detection(keys["detection"]),
        "verification": client.init_face_verification(keys["verification"]),
    }


def of_compreface_sdk_python(host, port, keys):
    client = importlib.import_module("compare").CompareFace(host, int(port))
    return {
        "recognition": client.init_recognition_service(keys["recognition"]),
        "detection": client.init_detect_service(keys["detection"]),
        "verification": client.init_verify_service(keys["verification"]),
        "async_recognition": client.init_async_recognition_service(keys["recognition"]),
        "async_detection": client.init_async_detect_service(keys["detection"]),
        "async_verification": client.init_async_verify_service(keys["verification"]),
    }


CLIENTS = {"compreface-sdk": of_compreface_sdk, "compreface-sdk-python": of_compreface_sdk_python}
NO_CALLS = {
    "get_available_functions",
    "get_face_collection",
    "get_subjects",
}  # they ask nothing of the service


def calls(parts):
    for part, value in parts.items():
        for name, _ in inspect.getmembers(type(value), inspect.isfunction):
            if not name.startswith("_") and name not in NO_CALLS:
                yield f"{part}.{name}"


def read(value):
    if isinstance(value, dict) and set(value) == {"bytes"}:
        return base64.b64decode(value["bytes"])
    return value


def main(client, host, port, keys):
    parts = CLIENTS[client](host, port, json.loads(keys))
    loop = asyncio.new_event_loop()
    print(json.dumps(sorted(calls(parts))), flush=True)
    for line in sys.stdin:
        name, arguments, options = json.loads(line)
        part, _, method = name.partition(".")
        try:
            result = getattr(parts[part], method)(*map(read, arguments), **options)
            if inspect.iscoroutine(result):
                result = loop.run_until_complete(result)
            answer = {"result": result}
        except Exception as e:
            answer = {"raised": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
