"""What makes a repo a context manager, in both kinds of `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Leaving the block closes; what `close` raises is raised there, unless another exception passes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    @abstractmethod
    async def aclose(self) -> None:
        """`close`, awaited."""

    def __enter__(self) -> Self:
        return self

    def _leave(self, error: BaseException) -> None:
        """Close while an exception passes."""
        self.close()

    async def _aleave(self, error: BaseException) -> None:
        """`_leave`, awaited."""
        await self.aclose()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close() if error is None else self._leave(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await (self.aclose() if error is None else self._aleave(error))
