# The service: CPU, no torch, not root. The model is not in it; see docs/DEPLOY.md.
#   docker build -t inkfill-serve .
#   docker run --rm --stop-timeout 20 -p 127.0.0.1:8000:8000 -v "$PWD/exported:/model:ro" inkfill-serve [options of serve.py]
# The tag moves. To build on the same base again: --build-arg BASE=python@sha256:..., see docs/DEPLOY.md.
ARG BASE=python:3.11-slim
FROM ${BASE}

RUN useradd --create-home --uid 10001 inkfill
WORKDIR /app

# what the serving process imports, at the tested versions; tests/test_docker.py holds the list
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt \
    flask \
    fonttools \
    freetype-py \
    jsonargparse \
    numpy \
    opencv-python-headless \
    openvino \
    pillow \
    prometheus-client \
    pyyaml \
    scipy \
    tqdm \
    waitress

COPY LICENSE ./
COPY assets/fonts assets/fonts
COPY synth synth
COPY classifier classifier
COPY scripts/serve.py scripts/serve.py

ENV PYTHONPATH=/app PYTHONUNBUFFERED=1
USER inkfill
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\", 8000)}/healthz')"]
# exec: SIGTERM must reach the server, which then finishes what it began; "$@": what docker run adds
ENTRYPOINT ["sh", "-c", "exec python scripts/serve.py --model /model --host 0.0.0.0 --port ${PORT:-8000} \"$@\"", "serve"]
