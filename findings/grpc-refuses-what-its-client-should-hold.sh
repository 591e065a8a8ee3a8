#!/usr/bin/env bash
# Expected: a gRPC client holds calls back while a connection has as many streams as the server allows.
# Happens: with `grpc.max_concurrent_streams` set, a part of the calls beyond it is refused: UNAVAILABLE, "Stream removed
# (RST_STREAM ... error code 7)". It stays so on a connection that has been used for a while.
# Matters: a server that sets it to what it answers at once sheds a burst in words that name no load, and that clients
# take for a broken server. Without the setting all are answered.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: grpcio==1.85.1
cd "$work"
venv/bin/python - <<'PY'
import asyncio
from collections import Counter

import grpc


async def answer(request, context):
    await asyncio.sleep(0.2)
    return b""


async def codes(*options):
    server = grpc.aio.server(options=options)
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    told = await asyncio.to_thread(burst, port)
    await server.stop(0)
    return told


def burst(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/a.Service/Call")
        call(b"")  # the connection is made, and its settings known
        calls = [call.future(b"") for _ in range(600)]
        return Counter(one.code().name for one in calls)


print("grpcio", grpc.__version__)
bound, free = asyncio.run(codes(("grpc.max_concurrent_streams", 16))), asyncio.run(codes())
print("at most 16 streams:", dict(bound), "no bound:", dict(free))
assert bound["UNAVAILABLE"] > 0 and set(free) == {"OK"}, "no longer so"
PY
