# docker build -t quantum-trader . && docker run --rm -it -v quantum-runs:/home/trader/runs quantum-trader
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY config config
COPY eventbus eventbus
COPY quantum_trader quantum_trader
RUN pip wheel --no-cache-dir --no-deps --build-constraint constraints.txt --wheel-dir /dist .

# docker build --target service -t eventbus . : a standalone event bus, behind a proxy that ends TLS. Its journal, and tokens.json from
# `eventbus token create`, are on the volume.
FROM python:3.11-slim AS service
COPY constraints.txt /tmp/
RUN --mount=from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --constraint /tmp/constraints.txt "$(ls /dist/*.whl)[gateway,nats,postgres,redis]" \
    && useradd --create-home --uid 10002 bus \
    && install --directory --owner=bus /home/bus/data

USER 10002
WORKDIR /home/bus/data
VOLUME ["/home/bus/data"]
EXPOSE 8765
HEALTHCHECK --start-period=20s --interval=30s --timeout=3s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8765/healthz', timeout=2).close()"]
ENTRYPOINT ["eventbus", "serve", "--host", "0.0.0.0", "--behind-proxy", "--tokens", "tokens.json"]
CMD ["--bus", "sqlite:///run.db"]

FROM python:3.11-slim
COPY constraints.txt /tmp/
RUN --mount=from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir --constraint /tmp/constraints.txt "$(ls /dist/*.whl)[gateway,mail,postgres]" \
    && useradd --create-home --uid 10001 trader \
    && install --directory --owner=trader /home/trader/runs /home/trader/data

USER 10001
WORKDIR /home/trader
VOLUME ["/home/trader/runs", "/home/trader/data"]
# A run is well while it answers with its figures; start others with --metrics-port 9464 too, or with --no-healthcheck.
HEALTHCHECK --start-period=20s --interval=30s --timeout=3s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9464/metrics', timeout=2).close()"]
ENTRYPOINT ["qt"]
CMD ["demo", "--metrics-port", "9464"]
