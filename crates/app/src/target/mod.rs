//! Where alerts go: Keep, a webhook, a file, standard output.
//!
//! A target takes a batch of alerts and says what became of it in a [`Reply`]. When something is
//! sent, and what follows from the reply, is the business of [`crate::outbox`], of which each target
//! has one of its own.

mod file;
pub(crate) mod http;
mod reply;
mod webhook;

pub use file::{FileSettings, FileTarget};
pub use reply::{InvalidElement, Reply};
pub use webhook::{SIGNATURE_HEADER, Webhook, WebhookSettings, signature};

use crate::keep;
use crate::store::Queued;
use std::collections::BTreeMap;

/// A place that alerts are delivered to.
#[derive(Debug)]
pub struct Target {
    name: String,
    sink: Sink,
}

/// The kinds of target.
#[derive(Debug)]
pub enum Sink {
    /// Keep's `/alerts/event`.
    Keep(keep::Client),
    /// Any HTTP server that takes JSON.
    Webhook(Webhook),
    /// JSON lines, to a file or standard output.
    File(FileTarget),
}

impl Target {
    /// A target by the name it has in the configuration, the state file and the metrics.
    pub fn new(name: impl Into<String>, sink: Sink) -> Target {
        Target { name: name.into(), sink }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What people call it in a sentence.
    pub fn label(&self) -> String {
        match &self.sink {
            Sink::Keep(_) => "Keep".to_owned(),
            _ => format!("target `{}`", self.name),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match &self.sink {
            Sink::Keep(client) => client.endpoint().to_string(),
            Sink::Webhook(webhook) => webhook.url().to_string(),
            Sink::File(file) => file.place(),
        }
    }

    /// Hands over a batch, the payloads byte for byte as they are.
    pub async fn send(&self, batch: &[Queued]) -> Reply {
        match &self.sink {
            Sink::Keep(client) => client.post(array(batch).into()).await,
            Sink::Webhook(webhook) => webhook.post(&array(batch)).await,
            Sink::File(file) => file.append(lines(batch)).await,
        }
    }

    /// Asks, without leaving an alert there, whether alerts would be taken. The error says in plain
    /// words what is wrong and what to do.
    pub async fn probe(&self) -> Result<(), String> {
        match &self.sink {
            Sink::Keep(client) => client.probe().await,
            Sink::Webhook(webhook) => webhook.probe().await,
            Sink::File(file) => file.probe().await,
        }
    }

    /// Whether it can be asked what it has.
    pub fn can_verify(&self) -> bool {
        matches!(&self.sink, Sink::Keep(client) if client.can_read())
    }

    /// The id of the last alert that it has of each of these fingerprints; one that it does not
    /// know is absent.
    pub async fn stored(&self, fingerprints: &[&str]) -> Result<BTreeMap<String, String>, String> {
        match &self.sink {
            Sink::Keep(client) => client.stored(fingerprints).await,
            _ => Err("this target cannot be asked what it has".to_owned()),
        }
    }
}

/// The payloads as a JSON array.
pub(crate) fn array(batch: &[Queued]) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + batch.iter().map(|item| item.payload.len() + 1).sum::<usize>());
    body.push(b'[');
    for (i, item) in batch.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.payload);
    }
    body.push(b']');
    body
}

/// The payloads as lines. A payload is compact JSON and holds no line end.
fn lines(batch: &[Queued]) -> Vec<u8> {
    let mut text = Vec::with_capacity(batch.iter().map(|item| item.payload.len() + 1).sum::<usize>());
    for item in batch {
        text.extend_from_slice(&item.payload);
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests;
