# The application and the simulated downstream.
ARG BASE=steadfast-python:local
FROM ${BASE}
COPY source /opt/steadfast
USER 65532:65532
CMD ["python3", "-m", "app"]
