use super::*;

/// The form as a shape shows it, and how strong it is; nothing where there is no class.
fn told(path: &str) -> Option<(String, Strength)> {
    let segments: Vec<&[u8]> = path.split('/').skip(1).map(str::as_bytes).collect();
    let (name, before) = segments.split_last().expect("a segment");
    let Found { form, strength } = form(name, Place { before })?;
    let pieces = form.0.iter().map(|piece| match piece {
        Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Piece::Token(class) => format!("{{{class}}}"),
    });
    Some((pieces.collect(), strength))
}

fn form_of(path: &str) -> String {
    told(path).map_or_else(|| "-".to_owned(), |(form, _)| form)
}

#[test]
fn names_that_machines_make_are_known_by_their_class() {
    for (path, wanted) in [
        ("/proc/4711", "{pid}"),
        ("/proc/4711/task/4712", "{tid}"),
        ("/proc/4711/fd/3", "{fd}"),
        ("/proc/4711/fdinfo/10", "{fd}"),
        ("/proc/4711/map_files/7f00-7fff", "{range}"),
        ("/etc/x/..2025_06_01_12_00_00.123456789", "{atomic-writer}"),
        (
            "/var/lib/kubelet/pods/00112233-4455-6677-8899-aabbccddeeff",
            "{uuid}",
        ),
        (
            "/sys/fs/cgroup/kubepods-burstable-pod00112233_4455_6677_8899_aabbccddeeff.slice",
            "kubepods-burstable-{pod-uid}.slice",
        ),
        (
            "/x/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
            "docker-{hex}.scope",
        ),
        ("/var/lib/containers/storage/overlay/8a0a50ee00", "{hex}"),
        ("/var/lib/redis/temp-1764.rdb", "temp-{number}.rdb"),
        ("/srv/report-2026-11-25.txt", "report-{time}.txt"),
        ("/srv/report-2026-11-25T10:11:12Z.txt", "report-{time}.txt"),
        ("/srv/20261125-101112.log", "{time}.log"),
        ("/var/tmp/etilqs_ef123456a064a2", "etilqs_{temporary}"),
        ("/tmp/tmpab1_x9qz", "tmp{temporary}"),
        ("/tmp/tmp.Ab3dEf9hIj", "tmp.{temporary}"),
        ("/etc/nginx/sedAb12Cd", "sed{temporary}"),
        ("/srv/CujXguEY", "Cu{temporary}"),
        (
            "/pg/base/pgsql_tmp/pgsql_tmp7884.0",
            "pgsql_{mixed}.{number}",
        ),
        ("/c/sess/ab12cd34ef56ab78cd90", "{hex}"),
    ] {
        assert_eq!(form_of(path), wanted, "{path}");
    }
}

#[test]
fn names_that_people_chose_are_of_no_class_or_need_evidence() {
    for path in [
        "/proc/self",
        "/proc/1",
        "/proc/sys",
        "/etc/passwd",
        "/tmp/tmpfiles",
        "/etc/sedation",
        "/usr/bin/sedutil6",
        "/srv/deadbeefcafe/index.html",
        "/sys/module/apparmor/parameters/enabled",
    ] {
        let strong = told(path).is_some_and(|(_, strength)| strength > Strength::Weak);
        assert!(!strong, "{path}: {:?}", told(path));
    }
    // Versions are numbers, and numbers are only believed to vary once they were seen to.
    let libc = told("/usr/lib/x86_64-linux-gnu/libc-2.36.so").expect("numbers");
    assert_eq!(
        libc,
        ("libc-{number}.{number}.so".to_owned(), Strength::Weak)
    );
}

#[test]
fn a_token_is_taken_whole_or_not_at_all() {
    // Six digits within a longer token are not a number.
    assert_eq!(form_of("/v/abc123456xyz"), "{mixed}");
    assert_eq!(form_of("/v/x_123456_y"), "x_{number}_y");
    assert_eq!(
        told("/v/123456"),
        Some(("{number}".into(), Strength::Strong))
    );
    assert_eq!(told("/v/12345"), Some(("{number}".into(), Strength::Weak)));
}

#[test]
fn short_tokens_are_a_mixture_beside_a_longer_one_alone() {
    for (path, wanted) in [
        ("/spool/1xWHtq-0004BD-1x-D", "{mixed}-{mixed}-{mixed}-D"),
        ("/spool/1xWHtq-0004BD-13-D", "{mixed}-{mixed}-{number}-D"),
        ("/srv/x86-64.conf", "x86-{number}.conf"),
        ("/srv/v1", "-"),
        ("/dev/sda1", "-"),
        ("/dev/nvme0n1p1", "{mixed}"),
    ] {
        assert_eq!(form_of(path), wanted, "{path}");
    }
}

#[test]
fn a_number_that_may_be_a_version_is_none_of_an_instance() {
    let is_numbered = |path: &str| {
        let segments: Vec<&[u8]> = path.split('/').skip(1).map(str::as_bytes).collect();
        let (name, before) = segments.split_last().expect("a segment");
        form(name, Place { before }).is_some_and(|found| found.form.is_numbered())
    };
    for path in ["/srv/failed-3.txt", "/srv/worker.1", "/srv/page_7"] {
        assert!(is_numbered(path), "{path}");
    }
    for path in [
        "/srv/libfoo.so.6",
        "/srv/libfoo-2.so",
        "/srv/python3.11",
        "/srv/app-1.2.jar",
        "/srv/3",
        "/srv/a-1-2",
        "/srv/plain",
    ] {
        assert!(!is_numbered(path), "{path}");
    }
}

#[test]
fn the_first_process_is_never_one_of_many() {
    let pids = regex(r"(?:[2-9]|[1-9][0-9].*)$");
    assert_eq!(Class::Pid.glob(), "{[2-9],[1-9][0-9]*}");
    assert!(!pids.is_match(b"1") && pids.is_match(b"2") && pids.is_match(b"10"));
}
