# The application, the simulated downstream and the conformance suite's gates.
ARG BASE=steadfast-python:local
FROM ${BASE}
COPY source /opt/steadfast
USER 65532:65532
CMD ["python3", "-m", "app"]
