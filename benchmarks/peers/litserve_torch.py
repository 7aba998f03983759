"""python litserve_torch.py MODEL PORT: LitServe and eager torch, in batches of up to 8."""

import sys
from pathlib import Path

import litserve
import numpy as np
from answering import Answering


class Api(litserve.LitAPI):
    def setup(self, device):
        self.answering = Answering(Path(sys.argv[1]))

    def decode_request(self, request):
        return self.answering.image(request)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.answering.labels(x)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"answer": output}


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.002, api_path="/inference")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False
    )
