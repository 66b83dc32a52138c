//! The wire between the kernel programs and user space.
//!
//! Integers only, padding spelled out, sizes asserted at compile time. Everything is in the byte
//! order of the machine: kernel and user space are the same one.
#![no_std]
#![forbid(unsafe_code)]

/// Head of every record in the ring buffer; `len` bytes of segments follow it.
///
/// From [`Header::scope`] on, head and segments are what is hashed into [`Header::key`]: two events
/// with equal keys are the same behaviour, whatever inode, dentry or mount they went through.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// SipHash-1-3-128 of the behaviour under a random key of this load. If the key is in the
    /// `SEEN` map its count holds this event too; if it is not (or is 0), the event stands for
    /// itself alone.
    pub key: [u64; 2],
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub at: u64,
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// For raw paths: id of the mount that the root directory of the process is on, else 0.
    pub root_mnt: u32,
    /// Which watched workload.
    pub scope: u32,
    /// One of [`op`].
    pub op: u32,
    /// For opens: [`access`] bits.
    pub access: u32,
    /// Acting user, in the initial user namespace.
    pub uid: u32,
    /// [`flag`] bits.
    pub flags: u32,
    /// 0 for success, else a positive errno.
    pub errno: u32,
    /// For raw paths: inode number of the mount namespace that they are resolved in, else 0.
    pub mnt_ns: u32,
    /// Bytes of each segment, see [`segment`].
    pub len: [u16; segment::COUNT],
}

const _: () = assert!(size_of::<Header>() == 72);

/// Offset of the first hashed byte of [`Header`].
pub const HASHED_FROM: usize = 32;
const _: () = assert!(core::mem::offset_of!(Header, scope) == HASHED_FROM);

/// Value of the `SEEN` map, by behaviour key.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Events, the first included.
    pub count: u64,
    /// First seen, `CLOCK_BOOTTIME` nanoseconds.
    pub first: u64,
    /// Last seen, `CLOCK_BOOTTIME` nanoseconds.
    pub last: u64,
}

const _: () = assert!(size_of::<Seen>() == 24);

/// Values of the `AGAIN` map.
pub const AGAIN_SETS: u32 = 512;
/// Entries in a value of it.
pub const AGAIN_SET: u32 = 32;

/// An open by the objects that it goes through, as addresses in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AgainKey {
    /// `struct dentry` of the file.
    pub dentry: u64,
    /// `struct inode` of the file, which is that of the dentry.
    pub inode: u64,
    /// `struct vfsmount` of the file.
    pub mnt: u64,
    /// `struct dentry` of the acting executable.
    pub exe: u64,
    /// `struct vfsmount` of the acting executable.
    pub exe_mnt: u64,
    /// Renames, and removals of directories, from one on: an entry with less is not found any more,
    /// and makes room first.
    pub changes: u64,
    /// `struct mnt_namespace` of the task.
    pub mounts: u64,
    /// The kernel's count of changes of mounts as of the last one in it, never 0: one that is made at the
    /// same address later has a greater count.
    pub mount_changes: u64,
    /// Scope, or generation of the policy, in the high half, acting user in the low one.
    pub whose: u64,
    /// [`access`] bits, [`again`] bits, and the kind of file from bit 16.
    pub bits: u64,
}

const _: () = assert!(size_of::<AgainKey>() == 8 * again::KEY_WORDS);

/// What is kept of an open that is repeated; a value of the `AGAIN` map is [`AGAIN_SET`] of them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// How often the entry was written, in the bits of [`again::WRITINGS`], odd while it is; above them further opens.
    /// Who has read the entry and counts by exchanging this word knows that it was whole.
    pub state: u64,
    /// Last of them, by [`cell::NOW`].
    pub last: u64,
    /// Key of the behaviour in `SEEN`, which counts all opens before this entry, and those of this entry
    /// too when another one takes its place. Zeros for opens that a policy lets be.
    pub seen: [u64; 2],
    /// Which open it is.
    pub key: AgainKey,
    /// What tells the dentries from others at the same addresses.
    pub of: Both,
    /// `struct file` of the executable when it was last compared with what is here.
    pub image: u64,
    /// How many programs had been executed on this machine by then. Who has the same file at its executable
    /// without an exec since has had it all the time.
    pub execs: u64,
}

/// What tells the two dentries of an open that was let be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Both {
    /// The file's.
    pub file: Identity,
    /// The executable's.
    pub exe: Identity,
}

const _: () = assert!(size_of::<Again>() == 8 * again::VALUE_WORDS);

/// What tells a dentry from another one at the same address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    /// Hash of its name, which the kernel makes with the address of its directory's dentry. Who chooses names
    /// knows no address, so two names have the same hash with a chance of 2^-32.
    pub name: u64,
    /// Inode number of its directory.
    pub ino: u64,
}

/// Bits of [`AgainKey::bits`], and its sizes.
pub mod again {
    /// The process has a controlling terminal.
    pub const TTY: u64 = 1 << 2;
    /// The acting user owns the file.
    pub const OWNER: u64 = 1 << 3;
    /// The file is on an overlay. Not of what is looked for: see [`LAYERS`].
    pub const OVERLAY: u64 = 1 << 4;
    /// The file is in the overlay's upper layer.
    pub const UPPER: u64 = 1 << 5;
    /// Bits that an entry has beyond those of what is looked for. Whether a file is on an overlay is told
    /// by its mount; whether it is in the upper layer is looked at only of one that is.
    pub const LAYERS: u64 = OVERLAY | UPPER;
    /// Words of the key.
    pub const KEY_WORDS: usize = 10;
    /// Words of an entry.
    pub const VALUE_WORDS: usize = 20;
    /// One open, in [`super::Again::state`].
    pub const ONE: u64 = 1 << 24;
    /// Bits of [`super::Again::state`] that count how often the entry was written.
    pub const WRITINGS: u64 = ONE - 1;

    /// Opens that a state counts.
    pub const fn count(state: u64) -> u64 {
        state / ONE
    }

    /// Whether an entry of this state is not whole.
    pub const fn is_being_written(state: u64) -> bool {
        state & 1 != 0
    }
}

/// Values of [`Header::op`].
pub mod op {
    /// A program was executed.
    pub const EXEC: u32 = 1;
    /// A file or directory was opened.
    pub const OPEN: u32 = 2;
    /// mknod, a bound Unix socket, or an open that created.
    pub const CREATE: u32 = 3;
    /// mkdir.
    pub const MKDIR: u32 = 4;
    /// unlink.
    pub const UNLINK: u32 = 5;
    /// rmdir.
    pub const RMDIR: u32 = 6;
    /// rename.
    pub const RENAME: u32 = 7;
    /// link.
    pub const LINK: u32 = 8;
    /// symlink.
    pub const SYMLINK: u32 = 9;
    /// chmod.
    pub const CHMOD: u32 = 10;
    /// truncate.
    pub const TRUNCATE: u32 = 11;
}

/// Bits of [`Header::access`]; the kernel's `FMODE_READ` and `FMODE_WRITE`.
pub mod access {
    /// For reading.
    pub const READ: u32 = 1;
    /// For writing.
    pub const WRITE: u32 = 2;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// Whether the acting user owns the file is known.
    pub const OWNER_KNOWN: u32 = 1;
    /// The acting user owns the file.
    pub const OWNER: u32 = 1 << 1;
    /// Whether the file is in the overlay's upper layer is known.
    pub const UPPER_KNOWN: u32 = 1 << 2;
    /// The file is in the overlay's upper layer.
    pub const UPPER: u32 = 1 << 3;
    /// The process has a controlling terminal.
    pub const TTY: u32 = 1 << 4;
    /// The opened file is a directory.
    pub const DIRECTORY: u32 = 1 << 5;
    /// The path is `PATH` (base directory) and `RAW` (the string that was passed), to be resolved
    /// by user space; likewise `TO` and `RAW_TO`.
    pub const RAW: u32 = 1 << 6;
    /// The file has no path: a memfd, a pipe, or on a mount that nothing leads to.
    pub const NO_PATH: u32 = 1 << 7;
    /// From `sched_process_exec`: `TO` is the image that was replaced, and if `RAW` is not empty
    /// it names a script that `PATH` interprets, from the working directory in `RAW_TO`.
    pub const EXEC_DONE: u32 = 1 << 8;
    /// From the enforcing programs: the policy denies it. Without an errno it was let through.
    pub const ALERT: u32 = 1 << 9;
    /// The kernel opens the file to execute it: a program, its interpreter, or its loader. Not known on
    /// the tracepoint rung.
    pub const FOR_EXEC: u32 = 1 << 10;
    /// The process came into the scope from outside and has executed nothing since: a runtime.
    pub const NEWCOMER: u32 = 1 << 11;
}

/// The segments after the head, in this order.
///
/// `PATH`, `TO`, `SOURCE` and `ROOT` are components from the leaf up, each ended by NUL; no
/// component is `/`. `RAW` and `RAW_TO` are strings, ended by NUL.
pub mod segment {
    /// The resolved path, or the base directory of `RAW`.
    pub const PATH: usize = 0;
    /// The second resolved path, or the base directory of `RAW_TO`.
    pub const TO: usize = 1;
    /// The acting executable.
    pub const SOURCE: usize = 2;
    /// The path as passed to the system call.
    pub const RAW: usize = 3;
    /// The second path as passed to the system call.
    pub const RAW_TO: usize = 4;
    /// The root directory of the process, for raw paths.
    pub const ROOT: usize = 5;
    /// Number of segments.
    pub const COUNT: usize = 6;
}

/// Bytes that a path may have, the leading slash included.
pub const PATH_MAX: usize = 4095;
/// Components that a path may have, whatever mount points it crosses.
pub const DEPTH_MAX: usize = 64;

/// Why an event was lost: low half of the key of the `LOST` map, the scope is the high half.
pub mod lost {
    /// The ring buffer had no room.
    pub const RING_FULL: u32 = 0;
    /// More than [`super::DEPTH_MAX`] components; up to 95 if no mount point is crossed.
    pub const PATH_TOO_DEEP: u32 = 1;
    /// More than [`super::PATH_MAX`] bytes.
    pub const PATH_TOO_LONG: u32 = 2;
    /// All scratch buffers of the CPU were in use.
    pub const SCRATCH_BUSY: u32 = 3;
    /// Too many system calls in flight.
    pub const IN_FLIGHT: u32 = 4;
    /// Kernel or user memory that names the path could not be read.
    pub const UNREADABLE: u32 = 5;
    /// A file operation by io_uring, which the tracepoint rung cannot resolve.
    pub const IO_URING: u32 = 6;
    /// A file operation by a 32-bit process, which the tracepoint rung cannot decode.
    pub const COMPAT: u32 = 7;
    /// The file was closed before it could be looked at.
    pub const GONE: u32 = 8;
    /// Number of kinds.
    pub const COUNT: u32 = 9;
    /// Names in recordings, by kind.
    pub const NAMES: [&str; COUNT as usize] = [
        "ring-full",
        "path-too-deep",
        "path-too-long",
        "scratch-busy",
        "in-flight",
        "unreadable",
        "io-uring",
        "compat",
        "gone",
    ];
}

/// Offsets of kernel struct fields, read from the running kernel's BTF.
///
/// A `u32` each in the `OFFSETS` global, by these indices.
pub mod field {
    macro_rules! fields {
        ($($name:ident = $spec:literal),* $(,)?) => {
            #[allow(clippy::upper_case_acronyms, non_camel_case_types, reason = "indices only")]
            #[repr(usize)]
            enum Index { $($name),*, LAST }
            $(
                #[doc = concat!("`", $spec, "`")]
                pub const $name: usize = Index::$name as usize;
            )*
            /// Number of offsets.
            pub const COUNT: usize = Index::LAST as usize;
            /// `struct.field` of each offset; `|` between names of different kernels; `?` at the end: 0
            /// where the kernel has none.
            pub const SPECS: [&str; COUNT] = [$($spec),*];
        };
    }
    fields! {
        TASK_MM = "task_struct.mm",
        TASK_TGID = "task_struct.tgid",
        TASK_LEADER = "task_struct.group_leader",
        TASK_START = "task_struct.start_boottime",
        TASK_CGROUPS = "task_struct.cgroups",
        CSS_SET_GROUP = "css_set.dfl_cgrp",
        CGROUP_SELF = "cgroup.self",
        CGROUP_LEVEL = "cgroup.level",
        CGROUP_SERIAL = "cgroup.self.serial_nr",
        CSS_PARENT = "cgroup_subsys_state.parent",
        TASK_REAL_PARENT = "task_struct.real_parent",
        TASK_SIGNAL = "task_struct.signal",
        TASK_FS = "task_struct.fs",
        TASK_FILES = "task_struct.files",
        TASK_NSPROXY = "task_struct.nsproxy",
        TASK_TI_STATUS = "task_struct.thread_info.status?",
        TASK_CRED = "task_struct.cred",
        CRED_UID = "cred.uid",
        SIGNAL_TTY = "signal_struct.tty",
        MM_EXE_FILE = "mm_struct.exe_file",
        FILE_PATH = "file.f_path",
        FILE_DENTRY = "file.f_path.dentry",
        FILE_MNT = "file.f_path.mnt",
        FILE_INODE = "file.f_inode",
        FILE_MODE = "file.f_mode",
        FILE_FLAGS = "file.f_flags",
        PATH_MNT = "path.mnt",
        PATH_DENTRY = "path.dentry",
        DENTRY_PARENT = "dentry.d_parent",
        DENTRY_NAME = "dentry.d_name.name",
        DENTRY_INODE = "dentry.d_inode",
        DENTRY_HASH = "dentry.d_name.hash",
        DENTRY_FLAGS = "dentry.d_flags",
        DENTRY_SB = "dentry.d_sb",
        INODE_MODE = "inode.i_mode",
        INODE_UID = "inode.i_uid",
        INODE_INO = "inode.i_ino",
        INODE_SB = "inode.i_sb",
        SB_FLAGS = "super_block.s_flags",
        SB_MAGIC = "super_block.s_magic",
        VFSMOUNT_ROOT = "vfsmount.mnt_root",
        MOUNT_MNT = "mount.mnt",
        MOUNT_PARENT = "mount.mnt_parent",
        MOUNT_MOUNTPOINT = "mount.mnt_mountpoint",
        MOUNT_NS = "mount.mnt_ns",
        MOUNT_ID = "mount.mnt_id",
        FS_ROOT = "fs_struct.root",
        FS_PWD = "fs_struct.pwd",
        FILES_FDT = "files_struct.fdt",
        FDTABLE_FD = "fdtable.fd",
        FDTABLE_MAX = "fdtable.max_fds",
        NSPROXY_MNT = "nsproxy.mnt_ns",
        NSPROXY_PID = "nsproxy.pid_ns_for_children",
        MNT_NS_INUM = "mnt_namespace.ns.inum",
        MNT_NS_EVENT = "mnt_namespace.event?",
        PID_NS_INUM = "pid_namespace.ns.inum",
        BPRM_FILE = "linux_binprm.file",
        BPRM_FILENAME = "linux_binprm.filename",
        BPRM_INTERP = "linux_binprm.interp",
        RENAMEDATA_OLD = "renamedata.old_dentry?",
        KIOCB_OPCODE = "io_kiocb.opcode?",
        OVL_VFS_INODE = "overlay:ovl_inode.vfs_inode?",
        OVL_UPPER = "overlay:ovl_inode.__upperdentry?",
        REGS_ARG0 = "regs:0",
        REGS_ARG1 = "regs:1",
        REGS_ARG2 = "regs:2",
        REGS_ARG3 = "regs:3",
        REGS_ARG4 = "regs:4",
        REGS_BX = "pt_regs.bx?",
    }
}

/// Fields as the instructions of the object name them until it is loaded: in the place of a field's offset,
/// since the kernel's structs are not known when it is built.
pub mod place {
    /// The first name. No program has anything so far behind a pointer.
    pub const FIRST: u32 = 0x7000;
    /// What stands for a field.
    pub const fn of(field: usize) -> u32 {
        FIRST + field as u32
    }

    /// The field that an offset stands for; None: it is an offset.
    pub const fn named(offset: i16) -> Option<usize> {
        if offset < FIRST as i16 {
            return None;
        }
        let field = (offset as u32 - FIRST) as usize;
        if field < super::field::COUNT {
            Some(field)
        } else {
            None
        }
    }

    const _: () = assert!(of(super::field::COUNT) <= i16::MAX as u32);
}

/// What a system call does, as an entry of the `SYSCALLS` map: the kind in the low byte, then four
/// bits each for the argument that holds the directory, the path, the second directory, the second
/// path and the flags ([`syscall::NONE`]: there is none).
pub mod syscall {
    /// No such argument.
    pub const NONE: u32 = 15;
    /// Returns a file descriptor of what it opened.
    pub const OPEN: u32 = 1;
    /// As [`OPEN`], flags in a `struct open_how`.
    pub const OPENAT2: u32 = 2;
    /// As [`OPEN`], flags are `O_CREAT | O_WRONLY | O_TRUNC`.
    pub const CREAT: u32 = 3;
    /// execve, execveat.
    pub const EXEC: u32 = 4;
    /// Names a path: the operation is `op` = kind - `PATH_OP`.
    pub const PATH_OP: u32 = 32;
    /// Names an open file: the operation is `op` = kind - `FD_OP`.
    pub const FD_OP: u32 = 64;
    /// bind: the path is in a `struct sockaddr_un`.
    pub const BIND: u32 = 96;
    /// unlinkat: rmdir with `AT_REMOVEDIR`.
    pub const UNLINKAT: u32 = 97;
    /// A 32-bit call that cannot be decoded: counted as lost.
    pub const COMPAT: u32 = 98;
    /// socketcall of i386: counted as lost if it binds a socket.
    pub const COMPAT_SOCKET: u32 = 100;

    /// Where the argument with the flags stands in an entry.
    pub const FLAGS: u32 = 24;

    /// Packs an entry.
    pub const fn entry(kind: u32, dir: u32, path: u32, dir2: u32, path2: u32, flags: u32) -> u32 {
        kind | dir << 8 | path << 12 | dir2 << 16 | path2 << 20 | flags << FLAGS
    }
}

/// Number of system calls of one kind (native, 32-bit) that the `SYSCALLS` map has room for.
pub const SYSCALL_MAX: u32 = 512;
/// Where the 32-bit system calls begin in the `SYSCALLS` map; the native ones are before.
pub const COMPAT_FROM: u32 = SYSCALL_MAX;

/// Indices of the `STAGES` map: what the return of a system call goes through.
pub mod stage {
    /// A file that an open created or truncated, or an operation on a descriptor.
    pub const DONE: u32 = 0;
    /// An opened file.
    pub const OPENED: u32 = 1;
    /// An operation on names.
    pub const NAMED: u32 = 2;
    /// Number of stages.
    pub const COUNT: u32 = 3;
    /// The programs, by stage.
    pub const PROGRAMS: [&str; COUNT as usize] = ["tp_done", "tp_opened", "tp_named"];
}

/// The kernel's functions that do what a hook was asked about, and so know what came of it. Indices of the
/// `DOERS` global.
pub mod doer {
    /// A regular file is made by mknod.
    pub const CREATE: usize = 0;
    /// Anything else is made by mknod, or a socket is bound.
    pub const MKNOD: usize = 1;
    /// mkdir.
    pub const MKDIR: usize = 2;
    /// unlink.
    pub const UNLINK: usize = 3;
    /// rmdir.
    pub const RMDIR: usize = 4;
    /// rename.
    pub const RENAME: usize = 5;
    /// link.
    pub const LINK: usize = 6;
    /// symlink.
    pub const SYMLINK: usize = 7;
    /// chmod and truncate.
    pub const CHANGE: usize = 8;
    /// Number of functions.
    pub const COUNT: usize = 9;

    /// The functions, by index.
    pub const FUNCTIONS: [&str; COUNT] = [
        "vfs_create",
        "vfs_mknod",
        "vfs_mkdir",
        "vfs_unlink",
        "vfs_rmdir",
        "vfs_rename",
        "vfs_link",
        "vfs_symlink",
        "notify_change",
    ];
    /// The programs on their returns, by index.
    pub const PROGRAMS: [&str; COUNT] = [
        "done_create",
        "done_mknod",
        "done_mkdir",
        "done_unlink",
        "done_rmdir",
        "done_rename",
        "done_link",
        "done_symlink",
        "done_change",
    ];

    /// Byte of an element: number of arguments, behind which the result is.
    pub const ARGUMENTS: u32 = 0;
    /// Byte of an element: which argument is the `struct dentry *`, or the `struct renamedata *`.
    pub const DENTRY: u32 = 8;
    /// Bit of an element: that argument is a `struct renamedata *`.
    pub const IN_RENAMEDATA: u32 = 1 << 16;
}

/// Indices of the `SETTINGS` global, a `u32` each.
pub mod setting {
    /// Process id of the observer in the initial pid namespace, whose own doings are nobody's
    /// evidence; 0: not known.
    pub const SELF: usize = 0;
    /// Which argument of `io_uring_submit_sqe` is the request.
    pub const URING_ARGUMENT: usize = 1;
    /// Number of settings.
    pub const COUNT: usize = 2;
}

/// What the enforcing programs are told: policies by cgroup, and their rules as a tree of names.
pub mod enforce {
    /// Value of the `POLICIES` map, by cgroup v2 id. Replaced whole.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Policy {
        /// Which edges are its own. Never used twice.
        pub generation: u32,
        /// Which workload, for records and the loss account.
        pub scope: u32,
        /// One of [`posture`], for programs.
        pub process: u32,
        /// One of [`posture`], for files.
        pub file: u32,
        /// 1: some programs have rules of their own, so that it matters who acts.
        pub sources: u32,
        /// Level of the cgroup below the root of the hierarchy, plus one; 0: not known.
        pub level: u32,
        /// The beginning of the policy's hash, for user space.
        pub hash: [u64; 2],
    }
    const _: () = assert!(size_of::<Policy>() == 40);

    /// Names up to this many bytes are keys of the `EDGES` map, longer ones of `LONG_EDGES`.
    pub const SHORT_NAME: usize = 38;
    /// Words that a short name takes, with zeros behind it.
    pub const SHORT_WORDS: usize = 5;
    /// Words that any name takes, with zeros behind it.
    pub const LONG_WORDS: usize = 32;

    /// Key of an edge: where it starts, and the name that it is for; none for the directory of the
    /// starting node itself.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EdgeKey<const WORDS: usize> {
        /// See [`Policy::generation`].
        pub generation: u32,
        /// The node that it starts from: one of [`node`], or a directory.
        pub node: u32,
        /// The component, with zeros behind it.
        pub name: [u64; WORDS],
    }
    const _: () = assert!(size_of::<EdgeKey<SHORT_WORDS>>() == 48);
    const _: () = assert!(size_of::<EdgeKey<LONG_WORDS>>() == 264);

    /// Value of the `EDGES` map: what the rules say of one name.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Edge {
        /// The node that it leads to, 0 for none.
        pub child: u32,
        /// From [`node::SOURCES`]: where the rules for this program start, 0 for none.
        pub source: u32,
        /// [`mask`] for the program of this name.
        pub process: u16,
        /// [`mask`] for the file of this name.
        pub file: u16,
        /// [`mask`] for programs in the directory of this name.
        pub process_below: u16,
        /// [`mask`] for files in the directory of this name.
        pub file_below: u16,
    }
    const _: () = assert!(size_of::<Edge>() == 16);

    impl Policy {
        /// As the map holds it.
        pub const fn words(self) -> [u64; 5] {
            let Self {
                generation,
                scope,
                process,
                file,
                sources,
                level,
                hash,
            } = self;
            [
                pair(generation, scope),
                pair(process, file),
                pair(sources, level),
                hash[0],
                hash[1],
            ]
        }

        /// The opposite of [`Self::words`].
        pub const fn from_words(words: [u64; 5]) -> Self {
            let (generation, scope) = halves(words[0]);
            let (process, file) = halves(words[1]);
            let (sources, level) = halves(words[2]);
            Self {
                generation,
                scope,
                process,
                file,
                sources,
                level,
                hash: [words[3], words[4]],
            }
        }
    }

    /// The first word of a key of an edge.
    pub const fn edge_start(generation: u32, node: u32) -> u64 {
        pair(generation, node)
    }

    /// The generation in the first word of a key of an edge.
    pub const fn edge_generation(start: u64) -> u32 {
        halves(start).0
    }

    impl Edge {
        /// As the map holds it.
        pub const fn words(self) -> [u64; 2] {
            let Self {
                child,
                source,
                process,
                file,
                process_below,
                file_below,
            } = self;
            [
                pair(child, source),
                pair(
                    short_pair(process, file),
                    short_pair(process_below, file_below),
                ),
            ]
        }
    }

    const fn pair(first: u32, second: u32) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    const fn halves(word: u64) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
        (
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        )
    }

    const fn short_pair(first: u16, second: u16) -> u32 {
        let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Indices of the `KEPT` map: what whoever takes the maps over has to know.
    pub mod kept {
        /// Bit mask of the cgroup levels that have policies.
        pub const LEVELS: u32 = 0;
        /// The generation of the next policy. Not read by the programs.
        pub const GENERATION: u32 = 1;
        /// Number of entries.
        pub const COUNT: u32 = 2;
    }

    /// Nodes that every policy has. Others are greater than all of them.
    pub mod node {
        /// Rules for all programs.
        pub const GLOBAL: u32 = 1;
        /// Paths of programs that have rules of their own.
        pub const SOURCES: u32 = 2;
        /// Names of programs, without a directory.
        pub const NAMES: u32 = 3;
    }

    /// What becomes of what no rule is about.
    pub mod posture {
        /// Let be: no rule of the class allows anything.
        pub const NONE: u32 = 0;
        /// Let be and reported.
        pub const AUDIT: u32 = 1;
        /// Refused and reported.
        pub const BLOCK: u32 = 2;
    }

    /// Bits of a rule, as in KubeArmor's `BPF/shared.h`.
    pub mod mask {
        /// For programs: it is a rule.
        pub const EXEC: u16 = 1 << 0;
        /// Writing too.
        pub const WRITE: u16 = 1 << 1;
        /// For files: it is a rule.
        pub const READ: u16 = 1 << 2;
        /// Only the owner may.
        pub const OWNER: u16 = 1 << 3;
        /// About what is in the directory.
        pub const DIR: u16 = 1 << 4;
        /// At any depth.
        pub const RECURSIVE: u16 = 1 << 5;
        /// It blocks.
        pub const DENY: u16 = 1 << 7;
        /// Refused to who has a terminal.
        pub const TERMINAL: u16 = 1 << 9;
    }
}

/// Maps of one value that the programs have at hand without looking it up, by their names.
pub mod cell {
    /// Another one after each change of the watched cgroups, or of the policies; odd while one is made:
    /// what the programs have found for a cgroup holds within one, and is not used in an odd one.
    pub const EPOCH: &str = ".data.epoch";
    /// Renames, and removals of directories, from one on; 0: they are not counted.
    pub const CHANGES: &str = ".data.changes";
    /// `CLOCK_BOOTTIME` nanoseconds as of a moment ago: when user space last looked, or the kernel last began a
    /// record. To ask the clock at each open would cost more than the rest of counting it.
    pub const NOW: &str = ".data.now";
}

/// Indices of the `SCOPING` map.
pub mod scoping {
    /// Bit mask of the cgroup levels in use.
    pub const LEVELS: u32 = 0;
    /// Number of entries in `NAMESPACES`.
    pub const NAMESPACES: u32 = 1;
    /// What an open on the tracepoint rung also reports: bit 0 a file that it created, bit 1 one that it
    /// truncated, bit 2 the open itself.
    pub const REPORTS: u32 = 2;
    /// Number of entries.
    pub const COUNT: u32 = 3;
}

/// Deepest cgroup level at which a workload can be scoped.
pub const CGROUP_LEVELS: u32 = 16;
