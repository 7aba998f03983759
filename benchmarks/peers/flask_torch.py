"""python flask_torch.py MODEL PORT: Flask and eager torch, by waitress."""

import sys
from pathlib import Path

import waitress
from answering import Answering
from flask import Flask, request

answering = Answering(Path(sys.argv[1]))
app = Flask("peer")


@app.post("/inference")
def inference():
    return {"answer": answering.labels(answering.image(request.get_json())[None])[0]}


waitress.serve(app, host="127.0.0.1", port=int(sys.argv[2]), threads=8)
