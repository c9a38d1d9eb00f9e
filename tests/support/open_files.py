"""A budget of open files that tells when it has released them."""

from __future__ import annotations

from ckvd_sql.cache.folder import OpenFiles


class CountedFiles(OpenFiles):
    """`OpenFiles` with nothing to release."""

    def __init__(self) -> None:
        self.releases = 0
        super().__init__(self._count)

    def is_exceeded(self) -> bool:
        """Whether it was too much; the count has then started over."""
        before = self.releases
        self.limit()
        return self.releases > before

    def _count(self) -> None:
        self.releases += 1
