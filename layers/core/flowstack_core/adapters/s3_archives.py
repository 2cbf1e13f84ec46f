"""Archives in S3: written as one multipart upload, fetched by a signed link."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from flowstack_core.domain.archives import MEDIA_TYPE
from flowstack_core.domain.data_rights import Export, Part

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def archive_key(export: Export) -> str:
    """Return the name of an archive; those of a customer stand together."""
    return f"{export.scope.customer_id}/{export.export_id}.tar.gz"


def tail_key(export: Export, step: int) -> str:
    """Return the name of what a step left behind."""
    return f"{export.scope.customer_id}/{export.export_id}/tail-{step:06d}"


class S3Archives:
    """`flowstack_core.services.ports.data_rights.Archives` on S3."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def begin(self, export: Export) -> str:
        """Begin an archive; one that is begun and never finished is removed by the bucket."""
        begun = self._client.create_multipart_upload(
            Bucket=self._bucket, Key=archive_key(export), ContentType=MEDIA_TYPE
        )
        return begun["UploadId"]

    def put_part(self, export: Export, number: int, content: bytes) -> Part:
        """Store a part; storing it again replaces it."""
        stored = self._client.upload_part(
            Bucket=self._bucket,
            Key=archive_key(export),
            UploadId=export.upload_id,
            PartNumber=number,
            Body=content,
        )
        return Part(number, stored["ETag"])

    def put_tail(self, export: Export, step: int, content: bytes) -> None:
        """Keep what is too little to be a part."""
        self._client.put_object(Bucket=self._bucket, Key=tail_key(export, step), Body=content)

    def tail(self, export: Export, step: int) -> bytes:
        """Return what a step left behind."""
        found = self._client.get_object(Bucket=self._bucket, Key=tail_key(export, step))
        return found["Body"].read()

    def finish(self, export: Export, parts: Sequence[Part]) -> None:
        """Make the parts one archive; an archive that is there already stays."""
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=archive_key(export),
                UploadId=export.upload_id,
                MultipartUpload={
                    "Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise
            # Finished by a run that was killed before it could say so, or never begun.
            self._client.head_object(Bucket=self._bucket, Key=archive_key(export))

    def link(self, export: Export, lifetime: timedelta) -> str:
        """Return an address under which anybody can fetch the archive for a while."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": archive_key(export),
                "ResponseContentDisposition": f'attachment; filename="{export.export_id}.tar.gz"',
            },
            ExpiresIn=int(lifetime.total_seconds()),
        )

    def discard(self, customer_id: str) -> int:
        """Delete all that is there of a customer, uploads under way included."""
        prefix, discarded = f"{customer_id}/", 0
        uploads = self._client.get_paginator("list_multipart_uploads")
        for page in uploads.paginate(Bucket=self._bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
                discarded += 1
        objects = self._client.get_paginator("list_objects_v2")
        for listed in objects.paginate(Bucket=self._bucket, Prefix=prefix):
            for found in listed.get("Contents", []):
                self._client.delete_object(Bucket=self._bucket, Key=found["Key"])
                discarded += 1
        return discarded
