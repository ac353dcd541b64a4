//! The clients' requests and answers as a file of JSON lines, so that another program can check what
//! was acknowledged.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// One request and its answer.
#[derive(Debug, Serialize)]
pub(super) struct Exchange<'a> {
    pub(super) at: DateTime<Utc>,
    pub(super) customer_id: &'a str,
    pub(super) key: &'a str,
    pub(super) amount: &'a str,
    pub(super) currency: &'a str,
    pub(super) payment_method: &'a str,
    /// The status. None where no answer came.
    pub(super) status: Option<u16>,
    pub(super) payment_id: Option<&'a str>,
    pub(super) body_sha256: Option<String>,
}

#[derive(Serialize)]
struct Head<'a> {
    history: u8,
    /// The merchant. None where the clients are those of all merchants.
    merchant_id: Option<&'a str>,
}

/// The file of a run's history.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl History {
    pub(super) fn create(path: &Path, merchant_id: Option<&str>) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let history = Self { path: path.to_owned(), file: Mutex::new(BufWriter::new(file)) };
        history.write(&Head { history: 1, merchant_id })?;
        Ok(history)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn add(&self, exchange: &Exchange<'_>) -> Result<()> {
        self.write(exchange)
    }

    fn write(&self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line)?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes all of it to the file.
    pub(super) fn flush(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
