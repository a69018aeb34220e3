"""The requests that run: a server that stops waits for them."""

import asyncio


class Activity:
    """A count that can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._silent = asyncio.Event()
        self._silent.set()

    def enter(self) -> None:
        self.count += 1
        self._silent.clear()

    def leave(self) -> None:
        self.count -= 1
        if self.count == 0:
            self._silent.set()

    async def wait_for_silence(self, patience: float) -> bool:
        """Whether nothing ran any more before ``patience`` seconds had passed."""
        try:
            await asyncio.wait_for(self._silent.wait(), patience)
        except TimeoutError:
            return False
        return True
