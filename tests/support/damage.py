"""What a hard crash does to an engine, done on purpose: lost wake-ups and broken histories."""

from __future__ import annotations

import asyncpg
import grpc


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def remove_wake_ups(etcd_port: int, app_id: str, id: str) -> None:
    """Deletes every reminder of an instance from the scheduler's own store (etcd)."""
    # etcd's KV.DeleteRange with key and range_end, by hand: two fields need no generated code.
    prefix = f"dapr/jobs/actorreminder||default||dapr.internal.default.{app_id}.workflow||{id}||"
    first = prefix.encode()
    last = first[:-1] + bytes([first[-1] + 1])
    with grpc.insecure_channel(f"127.0.0.1:{etcd_port}") as channel:
        delete = channel.unary_unary("/etcdserverpb.KV/DeleteRange")
        delete(_field(1, first) + _field(2, last), timeout=5)


async def damage_history(database_url: str, app_id: str, id: str, how: str) -> int:
    """Breaks an instance's history in Dapr's state table; returns how many rows it touched.

    `swapped` exchanges two events, `lost` removes one, `garbage` overwrites one.
    """
    key = f"{app_id}||dapr.internal.default.{app_id}.workflow||{id}||history-"
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT key, value FROM state WHERE starts_with(key, $1) ORDER BY key", key
        )
        middle, other = rows[len(rows) // 2], rows[len(rows) // 2 - 3]
        if how == "swapped":
            await _set(connection, middle["key"], other["value"])
            await _set(connection, other["key"], middle["value"])
            return 2
        if how == "garbage":
            await _set(connection, middle["key"], b"\xff\xff\xff")
            return 1
        await connection.execute("DELETE FROM state WHERE key = $1", middle["key"])
        return 1
    finally:
        await connection.close()


async def _set(connection: asyncpg.Connection, key: str, value: bytes) -> None:
    await connection.execute("UPDATE state SET value = $2 WHERE key = $1", key, value)
