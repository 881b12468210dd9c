"""WebSocket echo, both ends: `websocket.py serve ADDRESS PORT`, `websocket.py call ADDRESS PORT SECONDS PING_SECONDS`.

The client says something, is silent but for a ping each PING_SECONDS, and says something again after SECONDS on the same connection.
"""

import asyncio
import sys
import time

import websockets


async def serve(address, port):
    async def echo(socket, _path):
        async for message in socket:
            await socket.send(message)

    # Pings are the client's business alone, so that what keeps the connection open is known.
    async with websockets.serve(echo, address, port, ping_interval=None):
        print("ready", flush=True)
        await asyncio.Future()


async def call(address, port, seconds, ping_seconds):
    async with websockets.connect(f"ws://{address}:{port}/", ping_interval=None) as socket:
        begin = time.monotonic()
        pongs = 0
        await exchange(socket, "first words")
        while time.monotonic() - begin < seconds:
            await asyncio.sleep(ping_seconds)
            pong = await socket.ping()
            await asyncio.wait_for(pong, 30)
            pongs += 1
        await exchange(socket, "last words")
    print(f"open to the end, {pongs} pongs", flush=True)


async def exchange(socket, words):
    await socket.send(words)
    answer = await asyncio.wait_for(socket.recv(), 30)
    if answer != words:
        raise SystemExit(f"said {words!r} and heard {answer!r}")


if __name__ == "__main__":
    verb, address, port, *times = sys.argv[1:]
    if verb == "serve":
        asyncio.run(serve(address, int(port)))
    else:
        asyncio.run(call(address, int(port), *map(float, times)))
