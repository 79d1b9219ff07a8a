"""The profile of system calls as engines get it; tests/engine/test_isolation.py shows that it holds."""

import json

from harness.documents.digest import sha256
from harness.runs.seccomp import as_options, named, profile

FORBIDDEN = (
    "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp keyctl add_key request_key bpf userfaultfd mount "
    "umount2 perf_event_open io_uring_setup io_uring_enter io_uring_register kexec_load unshare setns init_module "
    "swapon reboot open_by_handle_at move_mount fsopen pivot_root chroot settimeofday clock_settime iopl ioperm "
    "syslog acct"
)


def test_nothing_is_allowed_but_by_name_and_nothing_twice():
    document = json.loads(profile())
    allowed = [name for rule in document["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not {*FORBIDDEN.split()} & {*allowed}
    filtered = {"socket", "personality", "clone"}
    assert len([name for name in allowed if name not in filtered]) == len({*allowed} - filtered)
    assert all(rule["args"] for rule in document["syscalls"] if {*rule["names"]} & filtered)


def test_an_engine_gets_text_or_a_file_and_a_manifest_the_digest_of_either(tmp_path):
    digest = f"seccomp={sha256(profile().encode())}"
    with as_options(tmp_path, "text") as (text,), as_options(tmp_path, "path") as (path,):
        assert (named(text), named(path)) == (digest, digest)
        assert str(tmp_path) in path
    with as_options(tmp_path, "none") as none:
        assert none == []
    assert not [*tmp_path.iterdir()]
    assert named("no-new-privileges") == "no-new-privileges" and named("seccomp=unconfined") == "seccomp=unconfined"
