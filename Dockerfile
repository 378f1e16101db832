# syntax=docker/dockerfile:1
# Two images of one source:
#   docker build --target api    -t gradsift-api .       the service, without torch
#   docker build --target worker -t gradsift-worker .    the worker, with torch and the demo model
# torch comes from pip's own index unless TORCH_INDEX_URL names another one. On Linux that default build runs
# on CPUs and GPUs alike and is large; PyTorch's installation page (pytorch.org/get-started) names the indexes
# of the small CPU build and of each CUDA version:
#   docker build --target worker --build-arg TORCH_INDEX_URL=... -t gradsift-worker .
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/srv/gradsift/bin:$PATH
RUN groupadd --gid 10001 gradsift \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gradsift \
    && install -d -o gradsift -g gradsift /data

# Dependencies first: they change less often than the code, and their layer is kept.
FROM base AS build-api
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /srv/gradsift \
    && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > api.txt \
    && pip install --compile -c constraints.txt -r api.txt
COPY README.md LICENSE NOTICE ./
COPY app app
COPY workers workers
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip pip install --compile -c constraints.txt .

FROM base AS build-worker
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
ARG TORCH_INDEX_URL=""
ARG EXTRAS="worker,demo"
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /srv/gradsift \
    && pip install --compile -c constraints.txt ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch
COPY README.md LICENSE NOTICE ./
COPY app app
COPY workers workers
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip pip install --compile -c constraints.txt ".[${EXTRAS}]"

FROM base AS runtime
# Everything that is written goes to /data (samples, checkpoints, models) or /tmp: the root may be read-only.
ENV GRADSIFT_DATA_URL=/data \
    GRADSIFT_LOG_FORMAT=json \
    HF_HOME=/tmp/hub
WORKDIR /tmp
VOLUME /data
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS api
COPY --from=build-api /srv/gradsift /srv/gradsift
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Listens beyond loopback, so it refuses to start without GRADSIFT_API_KEYS or GRADSIFT_API_KEYS_FILE.
CMD ["gradsift", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS worker
COPY --from=build-worker /srv/gradsift /srv/gradsift
COPY deploy/worker_alive.py /srv/worker_alive.py
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["python", "/srv/worker_alive.py"]
CMD ["gradsift", "worker"]
