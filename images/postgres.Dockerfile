# A PostgreSQL server that starts in a moment: its first data is part of the image.
ARG BASE=postgres:15
ARG DEBIAN=postgresql
FROM ${BASE}
ENV PGDATA=/var/lib/steadfast/data
COPY postgres.sh /usr/local/bin/serve-postgres
RUN mkdir -p /var/lib/steadfast /opt/template && chown postgres: /var/lib/steadfast /opt/template
USER postgres
RUN sh /usr/local/bin/serve-postgres template
# A fast shutdown: it does not wait for clients.
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/serve-postgres"]
