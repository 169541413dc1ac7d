"""Reading any of Feast's own online stores, such as Redis, in the shape of `features.rows`."""

from __future__ import annotations

from collections.abc import Sequence

from features import store, views
from features.workspace import Workspace


class FeastRows:
    """Rows of bytes read through Feast: slower than `features.rows.Rows`, for stores that many machines share."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws

    def read_many(self, wanted: Sequence[str], member_id: str) -> dict[str, tuple[bytes, float]]:
        """View → bytes and event time (epoch seconds); a view without a row for the member is left out.

        Raises:
            OSError: the store does not answer.
        """
        from redis.exceptions import RedisError

        fields = {view: views.ONLINE[view] for view in wanted}
        try:
            return store.online_row(self._ws, fields, member_id)
        except RedisError as error:
            raise OSError(f"the online store does not answer: {error}") from error
