//! Whether the server is still the one with which something was begun.
//!
//! Invariant: what was begun in an older generation of its database does not hold any more, for ever.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::select_all;

use super::site::{self, Site};

/// Whether any database of this process has several hosts. Only then does a server take another one's place
/// under a statement that goes on waiting.
static HAS_SEVERAL_HOSTS: AtomicBool = AtomicBool::new(false);

/// Notes that there is a database of several hosts.
pub(super) fn has_several_hosts() {
    HAS_SEVERAL_HOSTS.store(true, Ordering::Relaxed);
}

/// Returns once another server has taken the place of one that was in use at the beginning.
pub(super) async fn any_ends() {
    if !HAS_SEVERAL_HOSTS.load(Ordering::Relaxed) {
        return pending().await;
    }
    let standings: Vec<Standing> = site::all().iter().map(Site::standing).collect();
    if standings.is_empty() {
        return pending().await;
    }
    select_all(standings.iter().map(|standing| Box::pin(standing.ends()))).await;
}

/// The moment at which something was begun. It holds as long as the process knows of no other server.
#[derive(Debug, Clone)]
pub struct Standing {
    site: Option<Arc<Site>>,
    generation: u64,
}

impl Standing {
    pub(super) fn now(site: Arc<Site>) -> Self {
        Self { generation: site.generation(), site: Some(site) }
    }

    /// A standing that always holds, for what belongs to no database.
    #[must_use]
    pub const fn of_nothing() -> Self {
        Self { site: None, generation: 0 }
    }

    /// Returns once it does not hold any more.
    pub async fn ends(&self) {
        match &self.site {
            Some(site) => site.is_raised_from(self.generation).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the server is still the same.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.site.as_ref().is_none_or(|site| site.generation() == self.generation)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Poll;

    use super::*;
    use crate::database::{InTime as _, hosts};

    #[tokio::test]
    async fn what_a_server_keeps_is_given_up_once_another_one_took_its_place() {
        let site = Site::at(hosts::parse("postgres://u@127.0.0.1:1,127.0.0.1:2/d").unwrap());
        has_several_hosts();
        let mut kept = Box::pin(pending::<sqlx::Result<()>>().in_time());
        assert!(matches!(futures::poll!(&mut kept), Poll::Pending));

        site.raise();

        let sqlx::Error::Io(why) = kept.await.unwrap_err() else { panic!("the connection is not given up") };
        assert_eq!(why.kind(), io::ErrorKind::ConnectionAborted);
    }
}
