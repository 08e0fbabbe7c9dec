"""What Spark and Delta Lake do when they write to an account with a hierarchical namespace."""

import json
import uuid
from collections.abc import Sequence

from azure.core import MatchConditions
from azure.storage.filedatalake import DataLakeServiceClient, FileSystemClient

from tests.e2e.client import Client

PARTITIONS = ("date=2026-11-27", "date=2026-11-28")


def lake_account(client: Client, name: str) -> DataLakeServiceClient:
    """Return the Data Lake client of an account. The caller closes it, and makes the account hierarchical before."""
    values = dict(pair.partition("=")[::2] for pair in client.stack.connection_string(name).split(";"))
    return DataLakeServiceClient(values["BlobEndpoint"], values["AccountKey"])


def write(files: FileSystemClient, name: str, content: bytes) -> None:
    """Write a file as Hadoop's driver does: create it, append in two pieces, flush with close."""
    with files.get_file_client(name) as file:
        file.create_file()
        middle = len(content) // 2
        for position, piece in (0, content[:middle]), (middle, content[middle:]):
            if piece:
                file.append_data(piece, position)
        file.flush_data(len(content), close=True)


def spark_job(
    account: DataLakeServiceClient, container: str, out: str, *, tasks: int = 2, partitions: Sequence[str] = PARTITIONS
) -> dict[str, bytes]:
    """Run a job that commits as version 1 of Hadoop's FileOutputCommitter; return the blobs that a reader must find.

    Each task writes one file in `out` and one in each partition. The commit renames a partition as a directory if `out`
    does not have it yet, else its file.
    """
    job = uuid.uuid4().hex
    found = {f"{out}/_SUCCESS": b""}
    with account.get_file_system_client(container) as files:
        temporary = f"{out}/_temporary/0"
        files.create_directory(temporary).close()
        for task in range(tasks):
            attempt = f"{temporary}/_temporary/attempt_{task}"
            for folder in ("", *(f"{partition}/" for partition in partitions)):
                name = f"{folder}part-{task:05}-{job}.parquet"
                found[f"{out}/{name}"] = f"{job} {name}".encode() * 100
                write(files, f"{attempt}/{name}", found[f"{out}/{name}"])
            _rename_directory(files, attempt, f"{temporary}/task_{task}")
        for task in range(tasks):
            name, committed = f"part-{task:05}-{job}.parquet", f"{temporary}/task_{task}"
            _rename_file(files, f"{committed}/{name}", f"{out}/{name}")
            for partition in partitions:
                if files.get_directory_client(f"{out}/{partition}").exists():
                    _rename_file(files, f"{committed}/{partition}/{name}", f"{out}/{partition}/{name}")
                else:
                    _rename_directory(files, f"{committed}/{partition}", f"{out}/{partition}")
        files.delete_directory(f"{out}/_temporary")
        write(files, f"{out}/_SUCCESS", b"")
    return found


def delta_commit(
    account: DataLakeServiceClient, container: str, table: str, version: int, *, parts: int = 2
) -> dict[str, bytes]:
    """Commit a version of a Delta table; return its blobs. If the version exists, raise ResourceExistsError.

    The Parquet files are written in place. The commit is written under a temporary name, and renamed without overwriting.
    """
    job = uuid.uuid4().hex
    names = [f"part-{part:05}-{job}.snappy.parquet" for part in range(parts)]
    found = {f"{table}/{name}": f"{version} {name}".encode() * 100 for name in names}
    adds = [{"add": {"path": name, "size": len(found[f"{table}/{name}"]), "dataChange": True}} for name in names]
    actions = [{"commitInfo": {"operation": "WRITE", "version": version}}, *adds]
    commit = "".join(f"{json.dumps(action)}\n" for action in actions).encode()
    with account.get_file_system_client(container) as files:
        for name, content in found.items():
            write(files, name, content)
        log, name = f"{table}/_delta_log", f"{version:020}.json"
        files.create_directory(log).close()
        write(files, f"{log}/.{name}.{job}.tmp", commit)
        with files.get_file_client(f"{log}/.{name}.{job}.tmp") as temporary:
            temporary.rename_file(f"{container}/{log}/{name}", match_condition=MatchConditions.IfMissing).close()
    return found | {f"{log}/{name}": commit}


def _rename_file(files: FileSystemClient, source: str, target: str) -> None:
    with files.get_file_client(source) as file:
        file.rename_file(f"{files.file_system_name}/{target}").close()


def _rename_directory(files: FileSystemClient, source: str, target: str) -> None:
    with files.get_directory_client(source) as directory:
        directory.rename_directory(f"{files.file_system_name}/{target}").close()
