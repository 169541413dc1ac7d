"""From accepted events to online features: the whole state of the members concerned, made anew and pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd

from features import store
from features.entities import Programme
from features.member_states import state_blobs
from features.workspace import Workspace


def refresh(
    ws: Workspace,
    programme: Programme,
    at: datetime,
    journal_rows: Mapping[str, pd.DataFrame],
    member_ids: Sequence[str],
) -> int:
    """Push the states of some members as of `at`, from the tables and what the journal has beyond them.

    A state is made by the same SQL as in a nightly run and replaces the old one whole, so nothing can be counted twice
    and a late event falls into its place.

    Args:
        ws: The workspace, after `features.store.apply`.
        programme: Its rules.
        at: The moment, aware; not before the events became known.
        journal_rows: Typed rows by table, of these members, that may not be in the tables yet. A row that is in both
            counts once.
        member_ids: Members of whom anything is new.

    Returns:
        How many states were pushed.
    """
    return store.push(ws, state_blobs(ws.tables, at, programme, member_ids, fresh=journal_rows))
