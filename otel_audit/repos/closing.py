"""What makes a repo a context manager, in both kinds of `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Leaving the block closes; what `close` raises is raised there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    @abstractmethod
    async def aclose(self) -> None:
        """`close`, awaited."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
