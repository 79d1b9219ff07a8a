import os
import secrets
import string
import uuid

run_id = uuid.uuid4().hex[:8]
token = "".join(secrets.choice(string.ascii_letters) for _ in range(16))
salt = os.urandom(16)
suffix = secrets.randbelow(10_000)
print(run_id, len(token), len(salt), f"run-{suffix}")
