"""The two buckets. `Uploads`: what people dropped, read by version only. `Artifacts`: what we made, written once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"})  # the last: reading a delete marker


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload's bytes with what S3 says about them. metadata: the `x-amz-meta-*` values, lower-case names. tagged:
    whether it has tags; S3 says so only to those who may read them."""

    body: bytes
    metadata: Mapping[str, str]
    tagged: bool = False


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """The current version of a key in the uploads bucket. deleted: a delete marker is current."""

    key: str
    version_id: str
    size: int
    modified: datetime
    deleted: bool


class Uploads:
    """The uploads bucket. Reads need s3:GetObjectVersion and s3:ListBucket (or a vanished object answers 403)."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def read(self, key: str, version_id: str) -> StoredUpload | None:
        """The upload at exactly this version; None when that version is no longer there."""
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version_id)
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise
        return StoredUpload(answer["Body"].read(), answer["Metadata"], answer.get("TagCount", 0) > 0)

    def open(self, key: str, version_id: str) -> IO[bytes] | None:
        """The upload at exactly this version, to be read once from its start and closed; None when it is gone."""
        try:
            body = self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version_id)["Body"]
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise
        return cast("IO[bytes]", body)  # botocore's StreamingBody reads and closes like one

    def metadata(self, key: str, version_id: str) -> Mapping[str, str] | None:
        """The upload's own metadata at this version; None when that version is no longer there."""
        try:
            return self._client.head_object(Bucket=self.bucket, Key=key, VersionId=version_id)["Metadata"]
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise

    def tags(self, key: str, version_id: str) -> Mapping[str, str] | None:
        """The tags of this version as they are now; None when it is no longer there. Needs
        s3:GetObjectVersionTagging."""
        try:
            answer = self._client.get_object_tagging(Bucket=self.bucket, Key=key, VersionId=version_id)
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def keys(self, prefix: str) -> list[str]:
        """Keys that exist now (no delete markers) and start with `prefix`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def current(self, prefix: str) -> Iterator[ListedUpload]:
        """What is current for every key that starts with `prefix`, delete markers included."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for version in page.get("Versions", []):
                if version["IsLatest"]:
                    yield ListedUpload(
                        version["Key"], version["VersionId"], version["Size"], version["LastModified"], False
                    )
            for marker in page.get("DeleteMarkers", []):
                if marker["IsLatest"]:
                    yield ListedUpload(marker["Key"], marker["VersionId"], 0, marker["LastModified"], True)

    def folders(self) -> Iterator[str]:
        """First segments of all keys, those included that only have old versions or delete markers."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Delimiter="/")
        for page in pages:
            for prefix in page.get("CommonPrefixes", []):
                yield prefix["Prefix"].removesuffix("/")

    def current_of(self, key: str) -> ListedUpload | None:
        """What is current for one key; None when no version of it is left."""
        return next((upload for upload in self.current(key) if upload.key == key), None)

    def post_form(
        self, key: str, fields: Mapping[str, str], max_bytes: int, expires_seconds: int
    ) -> dict[str, Any]:  # Any: boto3's own {"url": str, "fields": {...}}
        """A presigned POST that lets its holder upload exactly this key, with these exact form fields."""
        conditions: list[Any] = [{name: value} for name, value in fields.items()]
        conditions.append(["content-length-range", 1, max_bytes])
        return self._client.generate_presigned_post(
            self.bucket, key, Fields=dict(fields), Conditions=conditions, ExpiresIn=expires_seconds
        )


class Artifacts:
    """The artifacts bucket: images, thumbs, rows, versions, reports, verdicts. Nothing here is ever rewritten."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def put_once(self, key: str, body: bytes | IO[bytes], content_type: str) -> bool:
        """Store `body` unless the key exists. True: stored now; False: it was there already, which is success."""
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
        except ClientError as error:
            # A 409 (another writer is at work, and may yet fail) is raised: the caller's message comes again.
            if _code(error) == "PreconditionFailed":
                return False
            raise
        return True

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is no such object."""
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise

    def begin_parts(self, key: str, content_type: str) -> str:
        """Open an upload in parts; answers S3's id of it."""
        return self._client.create_multipart_upload(Bucket=self.bucket, Key=key, ContentType=content_type)["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send one part (5 MiB or more, but for the last), counted from 1; answers its ETag."""
        return self._client.upload_part(
            Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body
        )["ETag"]

    def join_parts(self, key: str, upload_id: str, parts: Sequence[str]) -> None:
        """Make an object of the parts with these ETags, in this order; one that is there already is success."""
        listed: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, tag in enumerate(parts, start=1)
        ]
        try:
            self._client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}, IfNoneMatch="*"
            )
        except ClientError as error:
            if _code(error) != "PreconditionFailed":
                raise
            self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def size(self, key: str) -> int | None:
        """The object's length in bytes, or None when there is no such object."""
        try:
            return self._client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            raise

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is success. For training files only: all else is kept."""
        self._client.delete_object(Bucket=self.bucket, Key=key)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """The object's bytes from `start` to before `stop`. Raises LookupError when there is no such object."""
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
        except ClientError as error:
            if _code(error) in _GONE:
                raise LookupError(f"{key} is not in the artifacts bucket.") from error
            raise
        return answer["Body"].read()

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                yield item["Key"]

    def newest(self, prefix: str, suffix: str) -> str | None:
        """Of the keys that start and end so, the one stored last; of one second's, the longest."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        found = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(suffix)]
        last = max(found, key=lambda item: (item["LastModified"], len(item["Key"])), default=None)
        return last["Key"] if last else None

    def link(self, key: str, expires_seconds: int = 3600) -> str:
        """A short-lived link for people."""
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=expires_seconds
        )
