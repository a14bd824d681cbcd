"""A line between browser and dashboard on which everything takes its time, as through a tunnel to a busy cluster."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def slow_line(port: int, *, there: float, back: float) -> Iterator[tuple[str, threading.Event]]:
    """The address of what leads to `port` on this machine, so many seconds there and back once the event is set."""
    slow = threading.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await on_the_way.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    return
                writer.write(data)

        delivery = asyncio.ensure_future(deliver())
        data = b"-"
        while data:
            try:
                data = await reader.read(2**16)
            except ConnectionError:
                data = b""
            on_the_way.put_nowait((loop.time() + (seconds if slow.is_set() else 0), data))
        await delivery

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", port)
        ways = [carry(reader, questions, there), carry(answers, writer, back)]
        try:
            await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
        finally:  # who ends one way ends both
            writer.close()
            questions.close()

    async def end() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # the connections that they closed

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connect, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", slow
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
