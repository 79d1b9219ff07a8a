"""The archive file: its tar members, its OCI index and manifests, as values and bytes."""
