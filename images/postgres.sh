#!/bin/sh
# Becomes the server on the data in PGDATA, which begins as a copy of the image's with a password of
# its own. Arguments go to the server; `template` alone makes the image's data.
set -eu
template=/opt/template/data
binaries=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)")
if [ "${1-}" = template ]; then
    # Nobody gets in without a password, and there is none yet.
    "$binaries/initdb" --pgdata="$template" --username=postgres --auth=scram-sha-256 \
        --pwfile=/dev/fd/3 --encoding=UTF8 --no-locale 3<<EOF
$(head -c 32 /dev/urandom | base64)
EOF
    echo 'host all all all scram-sha-256' >> "$template/pg_hba.conf"
    exit
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?the password of the user postgres}"
    # Elsewhere first: a container that is killed half-way leaves nothing that looks complete.
    draft="$PGDATA.draft"
    rm -rf "$draft"
    cp -a "$template" "$draft"
    quoted=$(printf '%s' "$POSTGRES_PASSWORD" | sed "s/'/''/g")
    printf "ALTER USER postgres PASSWORD '%s'\n" "$quoted" \
        | "$binaries/postgres" --single -D "$draft" -c log_min_messages=fatal postgres > /dev/null
    sync
    mv "$draft" "$PGDATA"
fi
exec "$binaries/postgres" -D "$PGDATA" \
    --listen_addresses='*' --unix_socket_directories=/tmp "$@"
