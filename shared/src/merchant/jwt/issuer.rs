//! The issuer's keys, as this process last read them.
//!
//! They are read every five minutes, and once more when a token names a key that is not among them: so a new
//! key opens with its first token, and a withdrawn one opens nothing after five minutes. Strangers can name
//! keys that do not exist, so that happens once a minute at most.
//!
//! While the issuer's host is away the last keys serve for an hour. After that no token is judged: neither
//! let in, nor refused as if it were wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::key_set::KeySet;
use crate::platform::metrics;
use crate::platform::telemetry::chain;

/// The pause between two readings.
const READ_EVERY: Duration = Duration::from_mins(5);

/// The same after one that failed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// How long the keys serve after they were last read.
const SERVE_FOR: Duration = Duration::from_hours(1);

/// The fewest seconds between two readings for keys that are not known.
const UNKNOWN_EVERY: Duration = Duration::from_mins(1);

/// What one reading may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest set of keys.
const BYTES_MAX: usize = 256 * 1024;

/// Why a token that names some key cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// The issuer has no such key.
    NoSuchKey,
    /// The issuer's host is away, and the keys that are known do not do.
    Away,
}

/// The host of one issuer's keys.
#[derive(Debug)]
pub struct Issuer {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    held: Mutex<Held>,
    /// Held during a reading. Those who wait for it look at its result first.
    reading: tokio::sync::Mutex<()>,
}

/// What is known of the issuer's keys.
#[derive(Debug, Default)]
struct Held {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// When they were last read for a key that is not among them.
    asked_for_unknown_at: Option<Instant>,
    /// When the last reading failed; none if it went well.
    failed_at: Option<Instant>,
}

/// What follows for a token that names some key.
#[derive(Debug)]
enum Standing {
    Known(Arc<KeySet>),
    Unjudged(Unjudged),
    /// The keys are to be read.
    Read,
}

impl Held {
    /// The keys, unless they are too old.
    fn serving(&self, now: Instant) -> Option<&Arc<KeySet>> {
        self.keys.as_ref().filter(|(_, read_at)| now < *read_at + SERVE_FOR).map(|(keys, _)| keys)
    }

    fn standing(&self, kid: &str, now: Instant) -> Standing {
        let within = |at: Option<Instant>, time| at.is_some_and(|at| now < at + time);
        match self.serving(now) {
            Some(keys) if keys.has(kid) => Standing::Known(keys.clone()),
            Some(_) if !within(self.asked_for_unknown_at, UNKNOWN_EVERY) => Standing::Read,
            Some(_) if self.failed_at.is_none() => Standing::Unjudged(Unjudged::NoSuchKey),
            None if !within(self.failed_at, READ_AGAIN_AFTER) => Standing::Read,
            _ => Standing::Unjudged(Unjudged::Away),
        }
    }

    /// Notes that the keys are read now, for a token that names none of them.
    fn note_asked(&mut self, now: Instant) {
        if self.serving(now).is_some() {
            self.asked_for_unknown_at = Some(now);
        }
    }

    fn note(&mut self, read: Option<KeySet>, now: Instant) {
        match read {
            Some(keys) => (self.keys, self.failed_at) = (Some((Arc::new(keys), now)), None),
            None => self.failed_at = Some(now),
        }
    }
}

impl Issuer {
    /// The issuer that publishes its keys there.
    #[must_use]
    pub(super) fn at(url: Uri) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(PATIENCE));
        let tls = HttpsConnectorBuilder::new().with_native_roots().unwrap_or_else(|why| {
            tracing::debug!(%why, "no root certificates on this machine; trusting the ones built in");
            HttpsConnectorBuilder::new().with_webpki_roots()
        });
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { url, client, held: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The keys, which have one of that id.
    pub(super) async fn keys_with(&self, kid: &str) -> Result<Arc<KeySet>, Unjudged> {
        let _one_at_a_time = match self.standing(kid) {
            Standing::Known(keys) => return Ok(keys),
            Standing::Unjudged(why) => return Err(why),
            Standing::Read => self.reading.lock().await,
        };
        if let Standing::Read = self.standing(kid) {
            self.held().note_asked(Instant::now());
            self.read().await;
        }
        match self.standing(kid) {
            Standing::Known(keys) => Ok(keys),
            Standing::Unjudged(why) => Err(why),
            // The reading went well long ago by now. Whoever repeats the request has them read once more.
            Standing::Read => Err(Unjudged::Away),
        }
    }

    /// Keeps the keys current, without end.
    pub async fn keep_current(&self) {
        loop {
            let is_read = {
                let _one_at_a_time = self.reading.lock().await;
                self.read().await
            };
            tokio::time::sleep(if is_read { READ_EVERY } else { READ_AGAIN_AFTER }).await;
        }
    }

    /// Reads the keys, and answers whether that went well. Called with `reading` held.
    async fn read(&self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.document()).await;
        let read = read.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        let read = read.and_then(|document| KeySet::read(&document).map_err(|why| why.to_string()));
        if let Err(why) = &read {
            tracing::warn!(event = "jwks_unread", url = %self.url, why, "the issuer's keys could not be read");
        }
        let is_read = read.is_ok();
        metrics::jwks_read(is_read);
        self.held().note(read.ok(), Instant::now());
        is_read
    }

    async fn document(&self) -> Result<Bytes, String> {
        let answer = self.client.get(self.url.clone()).await;
        let answer = answer.map_err(|why| chain(&why))?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        Ok(body.map_err(|why| why.to_string())?.to_bytes())
    }

    fn standing(&self, kid: &str) -> Standing {
        self.held().standing(kid, Instant::now())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn read() -> Option<KeySet> {
        Some(KeySet::read(KEYS.as_bytes()).unwrap())
    }

    /// What is said of a key at that time: `known`, `no such key`, `away`, or `read`.
    fn told(held: &Held, kid: &str, now: Instant) -> &'static str {
        match held.standing(kid, now) {
            Standing::Known(_) => "known",
            Standing::Unjudged(Unjudged::NoSuchKey) => "no such key",
            Standing::Unjudged(Unjudged::Away) => "away",
            Standing::Read => "read",
        }
    }

    #[test]
    fn a_key_that_is_not_known_has_the_keys_read_once_a_minute() {
        let (mut held, start) = (Held::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(told(&held, "one", at(0)), "read", "nothing was read yet");
        held.note_asked(at(0));
        held.note(read(), at(0));
        assert_eq!(told(&held, "one", at(1)), "known");
        assert_eq!(told(&held, "two", at(1)), "read", "the first reading was for no unknown key");

        held.note_asked(at(1));
        held.note(read(), at(1));
        assert_eq!(told(&held, "two", at(2)), "no such key");
        assert_eq!(told(&held, "two", at(60)), "no such key");
        assert_eq!(told(&held, "two", at(61)), "read");
        assert_eq!(told(&held, "one", at(61)), "known");
    }

    #[test]
    fn while_the_host_is_away_the_last_keys_serve_for_an_hour_and_nobody_is_refused_as_wrong() {
        let (mut held, start) = (Held::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        held.note(read(), at(0));
        held.note_asked(at(3_590));
        held.note(None, at(3_590));
        assert_eq!(told(&held, "one", at(3_599)), "known");
        assert_eq!(told(&held, "two", at(3_599)), "away");
        assert_eq!(told(&held, "one", at(3_600)), "away");
        assert_eq!(told(&held, "one", at(3_605)), "read");

        held.note(read(), at(3_606));
        assert_eq!(told(&held, "one", at(3_606)), "known");
    }
}
