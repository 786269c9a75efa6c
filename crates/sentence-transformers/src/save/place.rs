//! Putting a finished folder in the place of another.

use std::path::{Path, PathBuf};

use crate::Result;

use crate::files::write_error;

/// A folder that is written beside its final place and takes that place in one step at the end. Dropped before, it is
/// removed and the final place is as it was.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    folder: tempfile::TempDir,
}

impl Staging {
    pub(super) fn beside(target: &Path) -> Result<Self> {
        let absolute = std::path::absolute(target).map_err(|source| write_error(target, source))?;
        let parent = absolute.parent().unwrap_or(&absolute).to_path_buf();
        std::fs::create_dir_all(&parent).map_err(|source| write_error(&parent, source))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".saving-");
        // A temporary folder is private by default; a model's folder is as open as the process's mask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let folder = builder.tempdir_in(&parent).map_err(|source| write_error(&parent, source))?;
        Ok(Self { target: absolute, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the folder to its place. Files of an older folder there that the new one does not have are kept.
    pub(super) fn finish(self) -> Result<()> {
        let Self { target, folder } = self;
        if !target.exists() {
            let path = folder.keep();
            return std::fs::rename(&path, &target).map_err(|source| {
                let _ = std::fs::remove_dir_all(&path);
                write_error(&target, source)
            });
        }
        keep_others(&target, folder.path())?;
        if exchange(folder.path(), &target) {
            // What is dropped with `folder` now is the old content.
            return Ok(());
        }
        // Without an atomic exchange the old folder steps aside for a moment, and comes back when the move fails.
        let aside = folder.path().with_extension("old");
        std::fs::rename(&target, &aside).map_err(|source| write_error(&target, source))?;
        let path = folder.keep();
        if let Err(source) = std::fs::rename(&path, &target) {
            let _ = std::fs::rename(&aside, &target);
            let _ = std::fs::remove_dir_all(&path);
            return Err(write_error(&target, source));
        }
        let _ = std::fs::remove_dir_all(&aside);
        Ok(())
    }
}

/// Links or copies what only the old folder has into the new one.
fn keep_others(old: &Path, new: &Path) -> Result<()> {
    for entry in std::fs::read_dir(old).map_err(|source| write_error(old, source))? {
        let entry = entry.map_err(|source| write_error(old, source))?;
        let (from, to) = (entry.path(), new.join(entry.file_name()));
        let is_folder = entry.file_type().map_err(|source| write_error(&from, source))?.is_dir();
        if is_folder {
            std::fs::create_dir_all(&to).map_err(|source| write_error(&to, source))?;
            keep_others(&from, &to)?;
        } else if std::fs::symlink_metadata(&to).is_err() && std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(|source| write_error(&to, source))?;
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> bool {
    false
}
