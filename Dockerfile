# docker build -t quantum-trader . && docker run --rm -it quantum-trader
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY eventbus eventbus
COPY quantum_trader quantum_trader
RUN pip install --no-cache-dir --constraint constraints.txt ".[gateway]" \
    && useradd --create-home trader

USER trader
WORKDIR /home/trader
ENTRYPOINT ["qt"]
CMD ["demo"]
