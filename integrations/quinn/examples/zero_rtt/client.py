#!/usr/bin/env python3
"""A client of the server beside it, by aioquic: pip install aioquic.

    client.py ADDRESS:PORT     visits it four times
    client.py                  visits what it is told by lines of "ADDRESS:PORT new", or "again"

Says of each visit what became of its ticket and of its early data. It offers the newest ticket, or "again" the one of
the last time.
"""
import asyncio
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration


async def visit(host, port, ticket):
    configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, server_name="localhost")
    configuration.session_ticket = ticket
    tickets = asyncio.Queue()
    async with connect(
        host,
        int(port),
        configuration=configuration,
        session_ticket_handler=tickets.put_nowait,
        wait_connected=ticket is None,
    ) as client:
        reader, writer = await client.create_stream()
        writer.write(b"hello")
        writer.write_eof()
        answer = await reader.read()
        tls = client._quic.tls
        how = "resumed" if tls.session_resumed else "handshake"
        when = "early" if tls.early_data_accepted else "late"
        said = f"TLSv1.3 {how}, {when}: {answer.decode()}"
        return await asyncio.wait_for(tickets.get(), 10), said


lines = [f"{sys.argv[1]} new"] * 4 if sys.argv[1:] else sys.stdin
print("aioquic is there", flush=True)
new = old = None
for line in lines:
    address, which = line.split()
    if which == "new":
        old = new
    new, said = asyncio.run(visit(*address.rsplit(":", 1), old))
    print(said, flush=True)
