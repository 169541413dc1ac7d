"""Keys: shown once, kept as hashes, opening only what their scopes say."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from serving.access import Keys, KeysError, issue, read, revoke
from serving.problems import RefusedError

ENTROPY = bytes(range(32))


def status(keys: Keys, headers: dict[str, str], *scopes: str) -> int:
    try:
        keys.admit(headers, *scopes)
    except RefusedError as error:
        return error.problem.status
    return 200


def test_a_key_opens_its_scopes_and_the_admins_key_opens_all(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    caller = issue(path, "app", ["caller"], ENTROPY)
    admin = issue(path, "ops", ["admin"], ENTROPY[::-1])
    keys = read(path)
    assert caller.startswith("tk_")
    assert status(keys, {"x-api-key": caller}, "caller") == 200
    assert status(keys, {"authorization": f"Bearer {caller}"}, "caller", "marketer") == 200
    assert status(keys, {"x-api-key": caller}, "marketer") == 403
    assert status(keys, {"x-api-key": admin}, "marketer") == 200
    assert status(keys, {"x-api-key": admin}) == 200
    assert status(keys, {"x-api-key": caller}) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "tk_" + "0" * 64},
        {"x-api-key": "\udcff\x00"},
        {"authorization": "Basic dGs="},
        {"authorization": "Bearer"},
    ],
)
def test_without_a_valid_key_nobody_gets_in(tmp_path: Path, headers: dict[str, str]) -> None:
    path = tmp_path / "keys.json"
    issue(path, "app", ["caller"], ENTROPY)
    assert status(read(path), headers, "caller") == 401
    assert status(read(tmp_path / "absent.json"), headers, "caller") == 401


def test_the_file_holds_no_key_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = issue(path, "app", ["caller"], ENTROPY)
    assert key.removeprefix("tk_") not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_key_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    gone, stays = issue(path, "a", ["caller"], ENTROPY), issue(path, "b", ["caller"], ENTROPY[::-1])
    revoked = next(one.id for one in read(path).holders.values() if one.name == "a")
    assert revoke(path, revoked)
    assert not revoke(path, revoked)
    assert status(read(path), {"x-api-key": gone}, "caller") == 401
    assert status(read(path), {"x-api-key": stays}, "caller") == 200


def test_wrong_keys_files_and_scopes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(KeysError, match="root"):
        issue(path, "app", ["root"], ENTROPY)
    with pytest.raises(KeysError, match="32 random bytes, 4 given"):
        issue(path, "app", ["caller"], b"four")
    path.write_text("{")
    with pytest.raises(KeysError, match=r"keys\.json"):
        read(path)
    path.write_text('{"keys": [{"id": "x", "sha256": "0", "scopes": ["god"]}]}')
    with pytest.raises(KeysError, match="'x'"):
        read(path)
