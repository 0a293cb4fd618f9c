# The example app; for a service of your own, copy its package instead of example_app.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
# the installer itself first: what builds the package is to be of a known version, too
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt pip
COPY convex_messaging_fastapi convex_messaging_fastapi
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt --build-constraint constraints.txt \
    ".[compression]" uvicorn

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home app
COPY --from=build /venv /venv
WORKDIR /app
COPY example_app example_app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
# live, not ready: a container must not be restarted because Kafka is away
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/kafka/live', timeout=2)"]
# exec form, so that uvicorn gets the SIGTERM; it gives requests 5 s, then the bus takes up to 25 s
CMD ["uvicorn", "example_app.main:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5"]
