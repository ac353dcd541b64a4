//! The directory of a private database, its log and its password. `payonce dev` also keeps its keys there.
//!
//! One process at a time uses a directory. The lock file says which, and the system releases the lock when
//! that process dies, in whatever way. A directory that holds something else is refused, so that `--fresh`
//! can never remove what Payonce did not write.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::Owner;

const LOCK_FILE: &str = "payonce.lock";

/// A directory that this process holds until it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    moved_from: Option<PathBuf>,
    /// Dropped with the value, which releases the directory.
    _lock: File,
}

impl DataDir {
    /// Opens `wanted`, and makes it where it is missing.
    pub fn open(wanted: &Path) -> Result<Self> {
        let path = absolute(wanted)?;
        make(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, moved_from: None, _lock: lock })
    }

    /// Opens `wanted`. Where `owner` cannot work in there, opens a directory under `/var/tmp` that is always
    /// the same for the same `wanted`.
    pub(crate) fn open_for(wanted: &Path, owner: &Owner) -> Result<Self> {
        let path = absolute(wanted)?;
        let existed = path.exists();
        make(&path)?;
        if owner.can_enter(&path)? {
            return Self::open(&path);
        }
        if !existed {
            // This removes only an empty directory; one that was filled meanwhile stays.
            let _ = fs::remove_dir(&path);
        }
        let substitute = substitute_for(&path);
        make(&substitute)?;
        refuse_if_planted(&substitute)?;
        if !owner.can_enter(&substitute)? {
            bail!(
                "user {owner} can work neither in {} nor in {}; name a directory it can reach with --data-dir",
                path.display(),
                substitute.display()
            );
        }
        let opened = Self::open(&substitute)?;
        Ok(Self { moved_from: Some(path), ..opened })
    }

    /// The path of the directory that is used.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that was asked for, where another one had to be taken. None where none had.
    #[must_use]
    pub fn moved_from(&self) -> Option<&Path> {
        self.moved_from.as_deref()
    }

    /// Removes everything but the lock.
    pub fn clear(&self) -> Result<()> {
        for entry in
            fs::read_dir(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?
        {
            let entry = entry?;
            if entry.file_name() == OsStr::new(LOCK_FILE) {
                continue;
            }
            let path = entry.path();
            let removed =
                if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// Writes a file that only this user may read, whole or not at all.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    let unfinished = beside(path, "unfinished");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The path with `.suffix` appended.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no usable path", path.display()))
}

/// Makes the directory. Others may enter root's, since the database runs as another user; its contents are
/// closed to them.
fn make(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    let made = match path.parent() {
        Some(parent) => {
            fs::create_dir_all(parent).and_then(|()| fs::DirBuilder::new().mode(mode).create(path))
        }
        None => Ok(()),
    };
    match made {
        // Two starts came at once: the lock decides.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        other => other.with_context(|| format!("cannot make the data directory {}", path.display()))?,
    }
    // Set again, because the mode above passed through the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the permissions of {}", path.display()))
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK_FILE);
    if !path.exists() && holds_something(directory)? {
        bail!(
            "{} is not empty and was not made by payonce; name another directory with --data-dir",
            directory.display()
        );
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            write!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            bail!(
                "{} is in use by another payonce (pid {holder}); stop that one, or name another directory with --data-dir",
                directory.display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error).context(format!("cannot lock {}", path.display())),
    }
}

fn holds_something(directory: &Path) -> Result<bool> {
    let mut entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(entries.next().is_some())
}

fn substitute_for(path: &Path) -> PathBuf {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let name: String = hex::encode(digest).chars().take(12).collect();
    Path::new("/var/tmp").join(format!("payonce-{name}"))
}

/// Refuses a directory under `/var/tmp` that another user made with the name that we are going to use.
fn refuse_if_planted(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    bail!("{} belongs to somebody else; name a directory with --data-dir", path.display())
}
