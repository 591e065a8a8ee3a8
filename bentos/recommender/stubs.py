"""Generate the gRPC stubs from the proto (they are committed): `python -m bentos.recommender.stubs`."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).with_name("recsys_v1")


def generate(folder: Path = FOLDER) -> None:
    """Write recommender_pb2.py, .pyi and recommender_pb2_grpc.py into `folder`, importable as a package."""
    from grpc_tools import protoc

    out = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{FOLDER}", *out, "recommender.proto"]):
        sys.exit("the proto does not compile: see the message above")
    stub = folder / "recommender_pb2_grpc.py"
    absolute = "import recommender_pb2 as recommender__pb2"
    relative = "from bentos.recommender.recsys_v1 import recommender_pb2 as recommender__pb2"
    stub.write_text(stub.read_text().replace(absolute, relative))


if __name__ == "__main__":
    generate()
