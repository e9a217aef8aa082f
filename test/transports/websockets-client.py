"""Connects with websockets, subscribes, calls, publishes, comes back with its cursor, and prints what came.

python3 websockets-client.py <url>
"""

import asyncio
import json
import sys

import websockets


def tell(name, value):
    print(json.dumps([name, value]), flush=True)


async def until(socket, kind):
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if frame["type"] == kind:
            return frame


async def main(url):
    async with websockets.connect(url, subprotocols=["livemessage.v1"]) as socket:
        tell("protocol", socket.subprotocol)
        tell("user", (await until(socket, "welcome"))["user"])
        await socket.send(json.dumps({"type": "subscribe", "id": 1, "channel": "chat:python"}))
        cursor = (await until(socket, "subscribed"))["cursor"]
        await socket.send(json.dumps({"type": "call", "id": 2, "action": "chat.echo", "data": "ü"}))
        tell("reply", (await until(socket, "reply"))["data"]["data"])
        await (await socket.ping())
        tell("pong", True)
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "publish", "channel": "chat:python", "data": {"n": 1}}))
        await socket.send(json.dumps({"type": "ping"}))
        await until(socket, "pong")
    async with websockets.connect(url + "?channel=chat:python&since=" + cursor) as socket:
        subscribed = await until(socket, "subscribed")
        tell("recovered", subscribed["recovered"])
        tell("missed", [message["data"] for message in subscribed["messages"]])
        await socket.send("{")
        try:
            await until(socket, "nothing")
        except websockets.ConnectionClosed as closed:
            tell("closed", closed.rcvd.code)


asyncio.run(main(sys.argv[1]))
