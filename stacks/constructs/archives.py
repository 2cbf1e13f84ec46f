"""Where exports of customers' data wait to be fetched."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.constructs.acknowledgement import acknowledge
from stacks.stage import Stage

LIFETIME = Duration.days(7)
ABANDONED_AFTER = Duration.days(1)


class Archives(Construct):
    """A bucket that forgets: encrypted, closed to the public and to plain HTTP.

    Nothing in it has versions, so that what is deleted is gone, and all of it is deleted after a
    week.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._key = key
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=False,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="Forget",
                    expiration=LIFETIME,
                    abort_incomplete_multipart_upload_after=ABANDONED_AFTER,
                )
            ],
            removal_policy=stage.removal_policy,
        )
        acknowledge(
            self.bucket,
            "S1",
            "Links are given by the admin API alone, whose access log has who asked. Logs of who"
            " used them would outlive the archives and the customers they are about.",
        )
        CfnOutput(self, "BucketName", value=self.bucket.bucket_name)

    def may_read(self) -> list[iam.PolicyStatement]:
        """Return the permission to fetch an archive: a link can do what its signer may do."""
        return [self._on_objects("GetObject"), self._on_key("Decrypt")]

    def may_write(self) -> list[iam.PolicyStatement]:
        """Return the permission to put archives together and to delete them."""
        return [
            self._on_objects("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"),
            iam.PolicyStatement(
                actions=["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                resources=[self.bucket.bucket_arn],
            ),
            self._on_key("Decrypt", "GenerateDataKey"),
        ]

    def acknowledge_on(self, role: iam.Role) -> None:
        """Accept that a role may touch archives of all names."""
        stack, arn = Stack.of(self.bucket), self.bucket.bucket_arn
        # As the rule writes it once the stacks are synthesized, and before that.
        imported = stack.resolve(stack.export_value(arn))["Fn::ImportValue"]
        own = ".".join(stack.resolve(arn)["Fn::GetAtt"])
        for where in (imported, f"<{own}>"):
            acknowledge(
                role,
                f"IAM5[Resource::{where}/*]",
                "Archives are named after customers, whom nobody knows when a stage is deployed.",
            )

    def _on_objects(self, *actions: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=[f"s3:{action}" for action in actions],
            resources=[self.bucket.arn_for_objects("*")],
        )

    def _on_key(self, *actions: str) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            actions=[f"kms:{action}" for action in actions],
            resources=[self._key.key_arn],
            # Through S3 only: a function cannot use the key on anything else.
            conditions={
                "StringEquals": {"kms:ViaService": f"s3.{self.bucket.stack.region}.amazonaws.com"}
            },
        )
