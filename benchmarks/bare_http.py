"""The floor of answering: the same HTTP server with one route that returns the same bytes.

    python -m benchmarks.bare_http PORT FILE

blox's libraries as blox runs them (uvicorn, uvloop, httptools), and nothing of blox: what a GET
costs on this machine before anything is looked up.
"""

import sys
from pathlib import Path

import uvicorn
from litestar import Litestar, MediaType, Response, get


def main(port: int, body: bytes) -> None:
    """Serve until killed."""

    @get("/", media_type=MediaType.JSON, sync_to_thread=False)
    def answer() -> Response[bytes]:
        return Response(body, media_type=MediaType.JSON)

    uvicorn.run(
        Litestar([answer], openapi_config=None),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes())
