# Python and the packages that requirements.lock pins; no source, so that it seldom changes.
ARG BASE=python:3.11-slim
ARG DEBIAN=python3
FROM ${BASE}
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/packages \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
COPY packages /opt/packages
RUN python3 -m compileall -q -j 0 /opt/packages && mkdir -m 1777 /data
WORKDIR /opt/steadfast
