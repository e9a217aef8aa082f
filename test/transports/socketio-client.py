"""Connects with python-socketio, calls, subscribes, publishes, and prints what came as lines of JSON.

python3 socketio-client.py <url> <transport>
"""

import json
import sys
import threading

import socketio

url, transport = sys.argv[1:3]
client = socketio.Client()
came = threading.Event()


def tell(name, value):
    print(json.dumps([name, value]), flush=True)


@client.on("message", namespace="/chat")
def on_message(message):
    tell("message", message["data"])
    came.set()


client.connect(url, namespaces=["/chat"], transports=[transport], auth={"channels": ["general"]})
tell("transport", client.transport())
tell("sum", client.call("sum", (1, 2, 3), namespace="/chat"))
tell("error", client.call("nothing", namespace="/chat"))
tell("bytes", client.call("bytes", b"\x00\xff", namespace="/chat")["bytes"].hex())
client.call("publish", ("general", {"from": "python"}), namespace="/chat")
came.wait(10)
client.disconnect()
