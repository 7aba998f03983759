"""python fastapi_torch.py MODEL PORT: FastAPI, uvicorn and eager torch, in FastAPI's threads."""

import sys
from pathlib import Path

import uvicorn
from answering import Answering
from fastapi import FastAPI

answering = Answering(Path(sys.argv[1]))
app = FastAPI()


@app.post("/inference")
def inference(body: dict):
    return {"answer": answering.labels(answering.image(body)[None])[0]}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
